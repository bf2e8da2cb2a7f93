//! Route tables that the spec selects by their subnets.

use super::*;

/// A table that is associated with these subnets.
fn with_subnets(id: &str, subnets: &[&str]) -> RouteTable {
    RouteTable { subnet_ids: subnets.iter().map(|id| (*id).to_owned()).collect(), ..table(id, &[]) }
}

fn subnet(id: &str, vpc: &str, tier: &str) -> Subnet {
    Subnet { id: id.into(), vpc_id: vpc.into(), tags: [("tier".to_owned(), tier.to_owned())].into() }
}

/// `main` and `rtb-1` belong to the VPC. `rtb-1` is the table of `subnet-1`.
fn case(selector: RouteTableSelector) -> Case {
    let routes =
        Routes { destination_cidr_blocks: vec!["10.2.0.0/16".into()], route_tables: selector, ..Routes::default() };
    let tables = [with_subnets("main", &[]), with_subnets("rtb-1", &["subnet-1"]), with_subnets("rtb-2", &[])];
    let subnets = [
        subnet("subnet-1", VPC, "data"),
        subnet("subnet-2", VPC, "web"),
        subnet("subnet-3", VPC, "web"),
        subnet("foreign", "vpc-2", "web"),
    ];
    let mut case = Case::new(Some(routes), &tables, &[]);
    case.subnets = Some(Ok(Arc::new(subnets.into_iter().collect())));
    case
}

fn by_id(ids: &[&str]) -> RouteTableSelector {
    RouteTableSelector { subnet_ids: ids.iter().map(|id| (*id).to_owned()).collect(), ..Default::default() }
}

fn by_tag(tier: &str) -> RouteTableSelector {
    RouteTableSelector { subnet_tags: [("tier".to_owned(), tier.to_owned())].into(), ..Default::default() }
}

/// The tables that get routes.
fn tables(plan: &RoutesPlan) -> Vec<&str> {
    match &plan.step {
        Some(RouteStep::Record(record)) => record.iter().map(|route| route.route_table_id.as_str()).collect(),
        None => Vec::new(),
        Some(RouteStep::Change(_)) => panic!("{plan:?}"),
    }
}

#[test]
fn the_tables_of_the_selected_subnets_get_routes() {
    for (selector, expected) in [
        (by_id(&["subnet-1"]), vec!["rtb-1"]),
        (by_id(&["subnet-2"]), vec!["main"]),
        (by_id(&["subnet-1", "subnet-2", "subnet-3"]), vec!["main", "rtb-1"]),
        (by_tag("data"), vec!["rtb-1"]),
        (by_tag("web"), vec!["main"]),
    ] {
        let plan = case(selector.clone()).repair();
        assert_eq!(tables(&plan), expected, "{selector:?}");
        assert_eq!(plan.problems, [], "{selector:?}");
    }
    let exclude = Some(crate::api::RouteTableExclusion { ids: vec!["main".into()], ..Default::default() });
    let excluded = RouteTableSelector { exclude, ..by_id(&["subnet-1", "subnet-2"]) };
    assert_eq!(tables(&case(excluded).repair()), ["rtb-1"]);
}

#[test]
fn a_subnet_that_is_unknown_or_elsewhere_is_reported() {
    let plan = case(by_id(&["subnet-1", "foreign", "subnet-9"])).repair();
    assert_eq!(tables(&plan), ["rtb-1"], "the others get their routes");
    let message = plan.blocker().map(|blocker| blocker.message).unwrap_or_default();
    for part in
        ["spec.requester.routes.routeTables.subnetIds", "foreign is a subnet of vpc-2, not of vpc-1", "subnet-9"]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
    let plan = case(by_tag("none")).repair();
    let blocker = plan.blocker().unwrap();
    assert_eq!((tables(&plan), blocker.reason), (vec![], Reason::RouteTableNotFound));
    assert!(blocker.message.starts_with("spec.requester.routes.routeTables.subnetTags: "), "{}", blocker.message);
}

#[test]
fn routes_stay_while_the_subnets_cannot_be_read() {
    let mut case = case(by_id(&["subnet-1"]));
    case.recorded = record(&["rtb-1 10.2.0.0/16 pcx-ours"]);
    case.tables = [table("rtb-1", &["10.2.0.0/16 pcx-ours"])].into_iter().collect();
    let blocker = Blocker::stalled(Reason::Unauthorized, "DescribeSubnets: no".into());
    case.subnets = Some(Err(blocker));
    let plan = case.repair();
    assert_eq!(plan.step, None);
    let blocker = plan.blocker().unwrap();
    assert_eq!(blocker.reason, Reason::Unauthorized);
    assert!(blocker.message.contains("DescribeSubnets: no"), "{}", blocker.message);
    // The routes are removed all the same.
    assert!(matches!(case.withdraw().step, Some(RouteStep::Change(_))));
}
