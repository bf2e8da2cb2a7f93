//! Random interleavings of crashes, stale views and edits of the spec, against a model of EC2's route tables. In the
//! end, exactly the wanted routes exist, and no foreign route has changed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::plan::RoutesPlan;
use super::super::table::RouteEntry;
use super::super::wanted::wanted;
use super::super::{
    Route, RouteAnswers, RouteChange, RouteStep, RouteTable, RouteTables, Routing, Target, repair, withdraw,
};
use super::prefix_lists::named_list;
use super::{Case, EARLIER, OURS, every_table, ids, main_table, managed, route, table, tags, to};
use crate::api::{ManagedRoute, Routes};
use crate::peering::authority::Authorized;
use crate::peering::routes::Destination;

const TABLES: [&str; 4] = ["main", "rtb-1", "rtb-2", "foreign"];
/// `pl-1` is a prefix list of the other end's blocks.
const BLOCKS: [&str; 6] = ["10.1.0.0/16", "10.2.0.0/16", "2001:db8::/56", "10.9.0.0/16", "10.1.0.0/17", "pl-1"];
const TARGETS: [&str; 4] = [OURS, EARLIER, "pcx-other", "nat-1"];

/// The largest lag of EC2's view, in passes.
const LAG: usize = 3;

type World = BTreeMap<RouteEntry, Target>;

fn any_entry() -> impl Strategy<Value = RouteEntry> {
    (prop::sample::select(&TABLES[..]), prop::sample::select(&BLOCKS[..]))
        .prop_map(|(table, block)| (table.to_owned(), block.parse().unwrap()))
}

fn any_routes() -> impl Strategy<Value = Option<Routes>> {
    let selector = prop_oneof![
        Just(every_table()),
        Just(main_table()),
        Just(ids(&["rtb-1", "rtb-2"])),
        Just(ids(&["rtb-1", "foreign"])),
        Just(tags(&[("name", "rtb-2")])),
        Just(tags(&[("tier", "private")])),
    ];
    let destinations = prop::sample::subsequence(&BLOCKS[..], 0..=BLOCKS.len());
    prop::option::weighted(0.8, (selector, destinations).prop_map(|(selector, blocks)| to(selector, &blocks)))
}

fn any_world() -> impl Strategy<Value = World> {
    let target = prop::sample::select(&TARGETS[..]);
    prop::collection::btree_map(any_entry(), target.prop_map(|target| route(&format!("::/0 {target}")).target), 0..12)
}

fn any_record() -> impl Strategy<Value = BTreeSet<ManagedRoute>> {
    let entry = (any_entry(), prop::sample::select(&[OURS, EARLIER][..]))
        .prop_map(|((table, block), id)| managed(&format!("{table} {block} {id}")));
    prop::collection::btree_set(entry, 0..8)
}

/// A disturbance of one pass.
#[derive(Clone, Debug)]
enum Disturbance {
    Nothing,
    /// The process dies after this many changes of the step.
    Crash(usize),
    /// EC2 shows its state from this many passes ago.
    Stale(usize),
    /// The user edits the spec.
    Edit(Box<Option<Routes>>),
}

fn disturbance() -> impl Strategy<Value = Disturbance> {
    prop_oneof![
        3 => Just(Disturbance::Nothing),
        2 => (0..4usize).prop_map(Disturbance::Crash),
        3 => (1..=LAG).prop_map(Disturbance::Stale),
        1 => any_routes().prop_map(|routes| Disturbance::Edit(Box::new(routes))),
    ]
}

/// The route tables of EC2, and a resource that has routes in them.
struct Model {
    case: Case,
    views: Vec<World>,
    /// The pass of the last call that created or replaced a route, or of the start of the process.
    last_creation: usize,
}

impl Model {
    fn world(&self) -> &World {
        self.views.last().unwrap()
    }

    fn shown(world: &World, is_connected: bool) -> RouteTables {
        let is_gone =
            |target: &Target| *target == Target::Peering(EARLIER.into()) || (!is_connected && *target == ours());

        let routes = |id: &str| {
            let here = world.iter().filter(|((table, _), _)| table == id);
            here.map(|((_, destination), target)| Route {
                destination: destination.clone(),
                target: target.clone(),
                is_blackhole: is_gone(target),
            })
            .collect()
        };
        TABLES.iter().map(|id| RouteTable { routes: routes(id), ..table(id, &[]) }).collect()
    }

    /// An EC2 call, and whether it succeeds. EC2 refuses to create a route that exists, and to replace one that does not.
    fn call(world: &mut World, change: &RouteChange) -> bool {
        let ManagedRoute { route_table_id, vpc_peering_connection_id, .. } = change.route();
        let entry = (route_table_id.clone(), Destination::of(change.route()).unwrap());
        let target = Target::Peering(vpc_peering_connection_id.clone());
        let exists = world.contains_key(&entry);
        match change {
            RouteChange::Create(_) => _ = world.entry(entry).or_insert(target),
            RouteChange::Replace(_) => _ = world.entry(entry).and_modify(|existing| *existing = target),
            RouteChange::Delete(_) => _ = world.remove(&entry),
        }
        match change {
            RouteChange::Create(_) => !exists,
            RouteChange::Replace(_) => exists,
            RouteChange::Delete(_) => true,
        }
    }

    fn pass(&mut self, disturbance: Disturbance, decide: fn(Routing<'_>) -> RoutesPlan) -> RoutesPlan {
        let now = self.views.len();
        let lag = if let Disturbance::Stale(lag) = disturbance { lag } else { 0 };
        self.case.tables = Self::shown(&self.views[now.saturating_sub(1 + lag)], self.case.is_connected);
        self.case.answers.is_settled = now - self.last_creation > LAG;
        if let Disturbance::Edit(routes) = &disturbance {
            self.case.routes = (**routes).clone();
        }
        let plan = decide(self.case.routing());
        let survives = if let Disturbance::Crash(changes) = disturbance { changes } else { usize::MAX };
        let mut world = self.world().clone();
        match &plan.step {
            Some(RouteStep::Record(record)) if survives > 0 => self.case.recorded = record.clone(),
            Some(RouteStep::Change(changes)) => {
                for change in changes.iter().take(survives) {
                    let has_succeeded = Self::call(&mut world, change);
                    self.case.answers.deleted.answered(change, has_succeeded);
                    if !matches!(change, RouteChange::Delete(_)) {
                        self.last_creation = now;
                    }
                }
            }
            Some(RouteStep::Record(_)) | None => {}
        }
        if matches!(disturbance, Disturbance::Crash(_)) {
            self.case.answers = RouteAnswers::default();
            self.last_creation = now;
        }
        self.views.push(world);
        plan
    }

    /// Runs passes until the plan has no step and awaits nothing.
    fn rest(&mut self, decide: fn(Routing<'_>) -> RoutesPlan) -> RoutesPlan {
        for _ in 0..30 {
            let plan = self.pass(Disturbance::Nothing, decide);
            if plan.step.is_none() && !plan.awaits_ec2 {
                return plan;
            }
        }
        panic!("the passes do not end: {:?}", decide(self.case.routing()));
    }
}

/// One history of a resource: the initial routes and record, and the disturbances.
#[derive(Clone, Debug)]
struct History {
    world: World,
    recorded: BTreeSet<ManagedRoute>,
    routes: Option<Routes>,
    disturbances: Vec<Disturbance>,
}

fn any_history() -> impl Strategy<Value = History> {
    let disturbances = prop::collection::vec(disturbance(), 0..20);
    (any_world(), any_record(), any_routes(), disturbances)
        .prop_map(|(world, recorded, routes, disturbances)| History { world, recorded, routes, disturbances })
}

impl History {
    fn model(&self) -> Model {
        let (recorded, lists) = (self.recorded.clone(), Some(named_list()));
        let mut case = Case { recorded, lists, ..Case::new(self.routes.clone(), &[], &[]) };
        case.own.owner_id = Some("111111111111".into());
        case.tables = Model::shown(&self.world, true);
        Model { case, views: vec![self.world.clone()], last_creation: 0 }
    }

    /// The entries that any version of the spec asks for.
    fn ever_wanted(&self) -> BTreeSet<RouteEntry> {
        let edits = self.disturbances.iter().filter_map(|disturbance| match disturbance {
            Disturbance::Edit(routes) => Some((**routes).clone()),
            _ => None,
        });
        let specs = edits.chain([self.routes.clone()]);
        specs.flat_map(|routes| wanted_entries(&Case { routes, ..self.model().case })).collect()
    }

    fn records(&self, entry: &RouteEntry) -> impl Iterator<Item = &ManagedRoute> {
        let destination = entry.1.to_string();
        let is_entry =
            move |route: &&ManagedRoute| route.route_table_id == entry.0 && route.destination() == destination;
        self.recorded.iter().filter(is_entry)
    }

    /// The initial routes that do not belong to the resource. A route of the resource leads through its connection to
    /// an entry of the spec or of the record, or through an earlier connection that the record names for the entry.
    fn foreign(&self) -> World {
        let ever_wanted = self.ever_wanted();
        let is_ours = |entry: &RouteEntry, target: &Target| {
            let Target::Peering(id) = target else { return false };
            let is_of_vpc = entry.0 != "foreign";
            let is_recorded = match id == OURS {
                true => ever_wanted.contains(entry) || self.records(entry).next().is_some(),
                false => self.records(entry).any(|route| route.vpc_peering_connection_id == *id),
            };
            is_of_vpc && is_recorded
        };
        let foreign = self.world.iter().filter(|(entry, target)| !is_ours(entry, target));
        foreign.map(|(entry, target)| (entry.clone(), target.clone())).collect()
    }
}

fn wanted_entries(case: &Case) -> BTreeSet<RouteEntry> {
    wanted(case.routing(), &mut Vec::new()).unwrap().entries
}

fn ours() -> Target {
    Target::Peering(OURS.into())
}

fn check_foreign_routes(model: &Model, foreign: &World) -> Result<(), TestCaseError> {
    for (entry, target) in foreign {
        prop_assert_eq!(model.world().get(entry), Some(target), "changed at {:?}", entry);
    }
    Ok(())
}

/// Checks that every wanted route exists or is reported as a conflict.
fn check_wanted_routes(model: &Model, plan: &RoutesPlan, foreign: &World) -> Result<(), TestCaseError> {
    for entry in wanted_entries(&model.case) {
        let exists = model.world().get(&entry) == Some(&ours());
        let is_conflict = plan
            .conflicts
            .iter()
            .any(|conflict| (&conflict.route_table_id, &conflict.route.destination) == (&entry.0, &entry.1));
        prop_assert!(exists != is_conflict, "{:?}: {:?}", entry, model.world().get(&entry));
        prop_assert_eq!(is_conflict, foreign.get(&entry).is_some_and(|target| *target != ours()), "{:?}", entry);
    }
    Ok(())
}

/// Checks that the resource has no other routes, and that its record names only existing ones. An unrecorded route may
/// stay if no pass acted on the spec that named it.
fn check_other_routes(model: &Model, history: &History, foreign: &World) -> Result<(), TestCaseError> {
    let wanted = wanted_entries(&model.case);
    for (entry, target) in model.world() {
        let is_initial = *target == ours() && history.world.get(entry) == Some(target);
        let may_stay = is_initial && history.records(entry).next().is_none();
        let is_expected = wanted.contains(entry) || foreign.get(entry) == Some(target) || may_stay;
        prop_assert!(is_expected, "orphaned: {:?} {:?}", entry, target);
    }
    for route in &model.case.recorded {
        let entry = (route.route_table_id.clone(), Destination::of(route).unwrap());
        prop_assert_eq!(model.world().get(&entry), Some(&ours()), "recorded but missing: {:?}", route);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_interleaving_ends_with_the_wanted_routes_and_keeps_foreign_routes(history in any_history()) {
        let (mut model, foreign) = (history.model(), history.foreign());
        for disturbance in &history.disturbances {
            model.pass(disturbance.clone(), repair);
            check_foreign_routes(&model, &foreign)?;
        }
        let plan = model.rest(repair);
        check_wanted_routes(&model, &plan, &foreign)?;
        check_other_routes(&model, &history, &foreign)?;

        let wanted = wanted_entries(&model.case);
        model.rest(|routing| withdraw(routing, true));
        prop_assert!(model.case.recorded.is_empty(), "{:?}", model.case.recorded);
        for entry in &wanted {
            prop_assert!(model.world().get(entry) != Some(&ours()), "orphaned: {:?}", entry);
        }
        check_foreign_routes(&model, &foreign)?;
    }

    /// The connection ends. EC2 shows it as deleted, or has shown it before.
    #[test]
    fn every_interleaving_after_the_end_removes_the_recorded_routes(
        history in any_history(),
        is_shown in any::<bool>(),
        disturbances in prop::collection::vec(disturbance(), 0..10),
    ) {
        let (mut model, foreign) = (history.model(), history.foreign());
        for disturbance in &history.disturbances {
            model.pass(disturbance.clone(), repair);
        }
        model.rest(repair);
        let recorded = model.case.recorded.clone();
        model.case.is_connected = false;
        let proof = if is_shown { &mut model.case.earlier } else { &mut model.case.remembered };
        proof.insert(Authorized::unchecked(OURS));
        for disturbance in &disturbances {
            model.pass(disturbance.clone(), |routing| withdraw(routing, true));
            check_foreign_routes(&model, &foreign)?;
        }
        model.rest(|routing| withdraw(routing, true));
        prop_assert!(model.case.recorded.is_empty(), "{:?}", model.case.recorded);
        for route in &recorded {
            let entry = (route.route_table_id.clone(), Destination::of(route).unwrap());
            prop_assert!(model.world().get(&entry) != Some(&ours()), "left: {:?}", entry);
        }
        check_foreign_routes(&model, &foreign)?;
    }
}
