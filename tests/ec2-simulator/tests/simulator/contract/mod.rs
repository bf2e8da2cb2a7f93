//! What holds for any EC2, through its public API alone. The simulator must pass every check; moto, where it agrees.
//! Where it does not, the table says which page of AWS decides, and the check must fail there: a row that moto has
//! outgrown is an error too.

mod identities;
mod peerings;
mod reading;
mod routes;
mod tags;
mod vpcs;

use std::pin::Pin;

use anyhow::Result;
use ec2_simulator::clock::Clock;
use jiff::Timestamp;

use crate::cloud::{Cloud, simulator};
use crate::moto::Moto;

/// One check.
struct Check {
    name: &'static str,
    run: fn(&Cloud) -> Outcome<'_>,
    moto: Witness,
}

type Outcome<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// What moto says to a check.
#[derive(Clone, Copy)]
enum Witness {
    Agrees,
    /// It says this instead; that page of AWS's, or that finding of its users, decides.
    Differs(&'static str, &'static str),
}

use Witness::{Agrees, Differs};

macro_rules! checks {
    ($($module:ident::$name:ident: $moto:expr;)*) => {
        &[$(Check { name: stringify!($name), run: |cloud| Box::pin($module::$name(cloud)), moto: $moto },)*]
    };
}

const API: &str = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/";
const BLOCKS: &str =
    "https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html#add-cidr-block-restrictions";
const ERRORS: &str = "https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html";
const LIFECYCLE: &str = "https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-lifecycle";
const OPTIONS: &str =
    "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcPeeringConnectionOptions.html";
const PAGES: &str = "https://docs.aws.amazon.com/ec2/latest/devguide/pagination.html";
const FILTERS: &str = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcPeeringConnections.html";
const ROUTES: &str = "https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-routing.html";
const TAGS: &str = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions";
const REPEATS: &str = "hashicorp/terraform-provider-aws 27750 and 27751: AWS promises nothing";
const SWAPPED: &str = "hashicorp/terraform-provider-aws 44315, and the code in the list of errors";

const CHECKS: &[Check] = checks! {
    vpcs::a_vpc_comes_and_goes: Agrees;
    vpcs::a_vpc_has_a_main_route_table: Agrees;
    vpcs::a_block_is_a_16_to_a_28: Differs("InvalidVpc.Range", ERRORS);
    vpcs::dns_attributes_are_set_one_by_one: Agrees;
    vpcs::an_amazon_ipv6_block_is_shown: Agrees;
    vpcs::a_malformed_id_is_told_from_an_unknown_one: Differs("InvalidVpcID.NotFound", ERRORS);
    vpcs::a_vpc_with_a_peering_stays: Differs("it was not refused", "https://docs.aws.amazon.com/vpc/latest/peering/delete-vpc-peering-connection.html");
    vpcs::a_second_block_comes_and_goes: Agrees;
    vpcs::an_ipv6_block_comes_and_goes: Agrees;
    vpcs::the_primary_block_stays: Agrees;
    vpcs::an_unknown_association_is_not_found: Differs("InvalidVpcCidrBlockAssociationIdError.NotFound", "hashicorp/terraform-provider-aws internal/service/ec2/errors.go");
    vpcs::a_vpc_has_at_most_five_blocks: Agrees;
    vpcs::a_new_block_is_of_the_right_size: Differs("it was not refused", BLOCKS);
    vpcs::a_new_block_overlaps_none: Differs("was not refused", BLOCKS);
    vpcs::a_requester_adds_no_block_while_it_waits: Differs("it was not refused", BLOCKS);
    peerings::a_request_is_checked_and_then_pends: Agrees;
    peerings::a_request_expires_in_seven_days: Differs("no time", LIFECYCLE);
    peerings::an_accepted_request_becomes_active: Agrees;
    peerings::accepting_provisions_first: Differs("code: Some(Active)", LIFECYCLE);
    peerings::blocks_are_told_of_an_active_connection_only: Differs("while pending", "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcPeeringConnection.html");
    peerings::a_rejected_request_stays_visible: Agrees;
    peerings::a_deleted_connection_stays_visible: Agrees;
    peerings::a_rejected_request_is_not_accepted: Agrees;
    peerings::the_refused_transition_is_named: Differs("is not in the correct state for the request", "hashicorp/terraform 7465 and 2322");
    peerings::a_rejected_request_is_not_deleted: Differs("it was not refused", LIFECYCLE);
    peerings::an_unknown_connection_is_not_found: Differs("InvalidVpcPeeringConnectionId.NotFound", ERRORS);
    peerings::overlapping_blocks_fail_later: Differs("does not become failed", LIFECYCLE);
    peerings::an_unknown_peer_fails_later: Differs("InvalidVpcID.NotFound", LIFECYCLE);
    peerings::a_repeated_request_gives_the_same_connection: Differs("pcx-", REPEATS);
    peerings::the_swapped_pair_cannot_be_accepted: Differs("it was not refused", SWAPPED);
    peerings::another_account_accepts: Agrees;
    peerings::the_requester_cannot_accept_for_another_account: Agrees;
    peerings::another_region_accepts: Agrees;
    peerings::the_wrong_region_cannot_accept: Agrees;
    peerings::options_are_set_on_an_active_connection: Agrees;
    peerings::options_need_an_active_connection: Differs("it was not refused", OPTIONS);
    peerings::options_need_dns_host_names: Differs("it was not refused", ERRORS);
    peerings::options_are_ones_own: Differs("it was not refused", OPTIONS);
    peerings::options_are_set_in_ones_own_region: Differs("it was not refused", OPTIONS);
    peerings::a_new_block_is_shown_at_its_end: Differs("the new block is not shown", "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcPeeringConnectionVpcInfo.html");
    peerings::a_dry_run_changes_nothing: Differs("it was not refused", API);
    peerings::a_parameter_that_is_missing_is_named: Differs("InvalidVpcID.NotFound", ERRORS);
    reading::filters_select: Differs("status-code", FILTERS);
    reading::patterns_select: Differs("active-*", FILTERS);
    reading::an_unknown_filter_is_refused: Differs("it was not refused", FILTERS);
    reading::pages_lead_through_all: Differs("[12]", PAGES);
    reading::a_page_has_bounds: Differs("it was not refused", PAGES);
    reading::vpcs_are_filtered: Agrees;
    reading::an_unknown_action_is_invalid: Differs("status: 500", ERRORS);
    reading::every_answer_has_a_request_id: Agrees;
    tags::tags_come_with_the_resource: Agrees;
    tags::tags_are_added_replaced_and_removed: Agrees;
    tags::tags_are_described: Agrees;
    tags::tags_live_where_they_were_made: Differs("another account sees them", TAGS);
    tags::a_resource_has_at_most_fifty: Agrees;
    tags::aws_is_reserved: Differs("it was not refused", ERRORS);
    routes::routes_come_change_and_go: Agrees;
    routes::a_route_through_an_ended_peering_is_a_black_hole: Differs("state: Some(Active)", ROUTES);
    routes::an_ipv6_route_comes_changes_and_goes: Agrees;
    routes::a_route_is_made_once: Agrees;
    routes::an_unknown_route_is_not_found: Agrees;
    routes::a_local_route_stays: Differs("it was not refused", "https://docs.aws.amazon.com/vpc/latest/userguide/RouteTables.html#route-table-routes");
    identities::a_key_has_an_account: Agrees;
    identities::a_role_is_of_its_account: Agrees;
    identities::an_unknown_key_is_refused: Differs("it was not refused", ERRORS);
};

#[tokio::test]
async fn the_simulator_passes_every_check() {
    let mut failures = Vec::new();
    for check in CHECKS {
        let mut settings = ec2_simulator::Settings { any_role: true, ..Default::default() };
        settings.quotas.outstanding = 100;
        // Fast, and yet every transition takes its time.
        let server = simulator(settings, Clock::new(Timestamp::now(), 10.0)).await;
        if let Err(error) = (check.run)(&Cloud::at(server.url())).await {
            failures.push(format!("{}: {error:#}", check.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn moto_passes_where_it_agrees_and_only_there() {
    let moto = Moto::start();
    let mut surprises = Vec::new();
    for check in CHECKS {
        moto.reset();
        match ((check.run)(&Cloud::at(moto.url.clone())).await, check.moto) {
            (Ok(()), Agrees) => {}
            (Err(error), Differs(says, _)) if format!("{error:#}").contains(says) => {}
            (Err(error), _) => surprises.push(format!("{} fails: {error:#}", check.name)),
            (Ok(()), Differs(_, decides)) => surprises.push(format!("{} passes, in spite of {decides}", check.name)),
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}
