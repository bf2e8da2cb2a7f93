//! The route tables that the spec selects.

use std::collections::BTreeSet;

use super::routing::Routing;
use super::selection_problem::SelectionProblem;
use super::subnet::Subnet;
use super::table::{RouteTable, has_all};
use crate::api::RouteTableSelector;

/// The IDs of the tables that the selector matches. `None` if it needs subnets, and EC2 does not show them.
pub(super) fn selected_tables(
    routing: Routing<'_>,
    selector: &RouteTableSelector,
    problems: &mut Vec<SelectionProblem>,
) -> Option<BTreeSet<String>> {
    let of_subnets = tables_of_subnets(routing, selector, problems)?;
    let selected: BTreeSet<String> = routing
        .tables
        .of_vpc(routing.vpc_id)
        .filter(|table| selector.matches(table, &of_subnets))
        .map(|table| table.id.clone())
        .collect();
    problems.extend(selector.ids.iter().filter(|id| !selected.contains(*id)).filter_map(|id| {
        let (field, id, vpc_id) = (field(routing, "ids"), id.clone(), routing.vpc_id.to_owned());
        let shown = routing.tables.get(&id);
        let is_excluded = selector.exclude.as_ref().is_some_and(|exclude| exclude.ids.contains(&id))
            || shown.is_some_and(|table| table.vpc_id == vpc_id && selector.excludes(table));
        match shown {
            _ if is_excluded => None,
            None => Some(SelectionProblem::UnknownTable { field, id }),
            Some(RouteTable { gateway_id: Some(gateway_id), vpc_id: actual, .. }) if *actual == vpc_id => {
                Some(SelectionProblem::TableOfGateway { field, id, gateway_id: gateway_id.clone() })
            }
            Some(table) => {
                Some(SelectionProblem::TableOfAnotherVpc { field, id, actual_vpc_id: table.vpc_id.clone(), vpc_id })
            }
        }
    }));
    if selected.is_empty() && selector.ids.is_empty() && selector.subnet_ids.is_empty() {
        let name = match selector {
            RouteTableSelector { all: true, .. } => "all",
            RouteTableSelector { main: true, .. } => "main",
            _ if !selector.subnet_tags.is_empty() => "subnetTags",
            _ => "tags",
        };
        problems.push(SelectionProblem::NoTable { field: field(routing, name), vpc_id: routing.vpc_id.to_owned() });
    }
    Some(selected)
}

/// The IDs of the tables that the selected subnets use. A subnet without an explicit association uses the main table.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/subnet-route-tables.html>
fn tables_of_subnets<'a>(
    routing: Routing<'a>,
    selector: &RouteTableSelector,
    problems: &mut Vec<SelectionProblem>,
) -> Option<BTreeSet<&'a str>> {
    if !selector.is_by_subnet() {
        return Some(BTreeSet::new());
    }
    let subnets = match routing.subnets? {
        Ok(subnets) => subnets,
        Err(blocker) => {
            let name = if selector.subnet_ids.is_empty() { "subnetTags" } else { "subnetIds" };
            let (field, blocker) = (field(routing, name), blocker.clone());
            problems.push(SelectionProblem::UnreadableSubnets { field, blocker });
            return None;
        }
    };
    for id in &selector.subnet_ids {
        let (field, id, vpc_id) = (field(routing, "subnetIds"), id.clone(), routing.vpc_id.to_owned());
        match subnets.get(&id) {
            None => problems.push(SelectionProblem::UnknownSubnet { field, id }),
            Some(subnet) if subnet.vpc_id != vpc_id => problems.push(SelectionProblem::SubnetOfAnotherVpc {
                field,
                id,
                actual_vpc_id: subnet.vpc_id.clone(),
                vpc_id,
            }),
            Some(_) => {}
        }
    }
    let is_selected =
        |subnet: &&Subnet| selector.subnet_ids.contains(&subnet.id) || has_all(&subnet.tags, &selector.subnet_tags);
    let tables = || routing.tables.of_vpc(routing.vpc_id);
    let main = tables().find(|table| table.main);
    let table_of = |subnet: &Subnet| {
        let explicit = tables().find(|table| table.subnet_ids.contains(&subnet.id));
        explicit.or(main).map(|table| table.id.as_str())
    };
    Some(subnets.of_vpc(routing.vpc_id).filter(is_selected).filter_map(table_of).collect())
}

fn field(routing: Routing<'_>, name: &str) -> String {
    format!("{}.routeTables.{name}", routing.field)
}
