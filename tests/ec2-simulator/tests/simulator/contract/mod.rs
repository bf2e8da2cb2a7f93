//! Checks that hold for every EC2 and use only its public API. The simulator must pass all of them. moto must pass
//! those where it agrees. Where it differs, the table cites the AWS page that the simulator follows, and the check must
//! fail on moto: a row that a later moto passes is an error too. `make contract-aws` runs the same checks on AWS.

pub(crate) mod aws;
mod identities;
mod open_questions;
mod peerings;
mod reading;
mod routes;
pub(crate) mod run;
mod tags;
mod vpcs;

use std::pin::Pin;

use anyhow::Result;
use ec2_simulator::clock::Clock;
use jiff::Timestamp;

use crate::cloud::{Cloud, simulator};
use crate::moto::Moto;

/// A row of the table.
struct Check {
    name: &'static str,
    run: fn(&Cloud) -> Outcome<'_>,
    moto: Expectation,
}

type Outcome<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// The expected result of a check on moto.
#[derive(Clone, Copy)]
enum Expectation {
    Agrees,
    /// The check fails with this text. The second field cites the AWS page, or the observation of AWS users, that the
    /// simulator follows.
    Differs(&'static str, &'static str),
}

use Expectation::{Agrees, Differs};

macro_rules! checks {
    ($($module:ident::$name:ident: $moto:expr;)*) => {
        &[$(Check { name: stringify!($name), run: |cloud| Box::pin($module::$name(cloud)), moto: $moto },)*]
    };
}

const API: &str = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/";
const BLOCKS: &str =
    "https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html#add-cidr-block-restrictions";
const DELETION: &str = "https://docs.aws.amazon.com/vpc/latest/peering/delete-vpc-peering-connection.html";
const ERRORS: &str = "https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html";
const LIFECYCLE: &str = "https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-lifecycle";
const LOCAL_ROUTES: &str = "https://docs.aws.amazon.com/vpc/latest/userguide/RouteTables.html#route-table-routes";
const MAIN_TABLE: &str = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteRouteTable.html";
const OPTIONS: &str =
    "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcPeeringConnectionOptions.html";
const PAGES: &str = "https://docs.aws.amazon.com/ec2/latest/devguide/pagination.html";
const FILTERS: &str = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcPeeringConnections.html";
const ROUTES: &str = "https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-routing.html";
const TAGS: &str = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions";
const PROVIDER_ERRORS: &str = "hashicorp/terraform-provider-aws internal/service/ec2/errors.go";
const REPEATS: &str = "hashicorp/terraform-provider-aws 27750 and 27751: AWS promises nothing";
const SHOWN: &str = "ansible-collections/amazon.aws tests/integration/targets/ec2_vpc_peering, which runs on EC2";
const SWAPPED: &str = "hashicorp/terraform-provider-aws 44315, and the code in the list of errors";
const TRANSITIONS: &str = "hashicorp/terraform 7465 and 2322";
const VPC_INFO: &str = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcPeeringConnectionVpcInfo.html";

const CHECKS: &[Check] = checks! {
    vpcs::vpcs_are_created_and_deleted: Agrees;
    vpcs::a_vpc_has_a_main_route_table: Agrees;
    vpcs::block_sizes_are_limited: Differs("InvalidVpc.Range", ERRORS);
    vpcs::dns_attributes_are_set_separately: Agrees;
    vpcs::an_amazon_ipv6_block_is_shown: Agrees;
    vpcs::malformed_and_unknown_ids_have_different_errors: Differs("InvalidVpcID.NotFound", ERRORS);
    vpcs::a_vpc_with_a_peering_cannot_be_deleted: Differs("it was not refused", DELETION);
    vpcs::ipv4_blocks_are_associated_and_disassociated: Agrees;
    vpcs::ipv6_blocks_are_associated_and_disassociated: Agrees;
    vpcs::the_primary_block_cannot_be_disassociated: Agrees;
    vpcs::an_unknown_association_is_not_found:
        Differs("InvalidVpcCidrBlockAssociationIdError.NotFound", PROVIDER_ERRORS);
    vpcs::a_vpc_has_at_most_five_blocks: Agrees;
    vpcs::sizes_of_associated_blocks_are_limited: Differs("it was not refused", BLOCKS);
    vpcs::an_associated_block_must_not_overlap: Differs("was not refused", BLOCKS);
    vpcs::a_requester_cannot_associate_a_block_while_pending: Differs("it was not refused", BLOCKS);
    peerings::a_request_is_validated_and_then_pending: Agrees;
    peerings::a_request_expires_in_seven_days: Differs("no time", LIFECYCLE);
    peerings::an_accepted_request_becomes_active: Agrees;
    peerings::accepting_provisions_first: Differs("code: Some(Active)", LIFECYCLE);
    peerings::each_phase_shows_its_blocks_and_options: Differs("while pending", SHOWN);
    peerings::a_rejected_request_stays_visible: Agrees;
    peerings::a_deleted_connection_stays_visible: Agrees;
    peerings::a_rejected_request_cannot_be_accepted: Agrees;
    peerings::the_error_names_the_invalid_transition:
        Differs("is not in the correct state for the request", TRANSITIONS);
    peerings::a_rejected_request_cannot_be_deleted: Differs("it was not refused", LIFECYCLE);
    peerings::an_unknown_connection_is_not_found: Differs("InvalidVpcPeeringConnectionId.NotFound", ERRORS);
    peerings::overlapping_blocks_fail_later: Differs("does not become failed", LIFECYCLE);
    peerings::a_request_to_an_unknown_vpc_fails_later: Differs("InvalidVpcID.NotFound", LIFECYCLE);
    peerings::a_repeated_request_returns_the_same_connection: Differs("pcx-", REPEATS);
    peerings::a_request_in_the_opposite_direction_cannot_be_accepted: Differs("it was not refused", SWAPPED);
    peerings::another_account_can_accept: Agrees;
    peerings::the_requester_cannot_accept_for_another_account: Agrees;
    peerings::another_region_can_accept: Agrees;
    peerings::the_wrong_region_cannot_accept: Agrees;
    peerings::options_are_set_on_an_active_connection: Agrees;
    peerings::options_need_an_active_connection: Differs("it was not refused", OPTIONS);
    peerings::options_need_dns_host_names: Differs("it was not refused", ERRORS);
    peerings::options_of_another_account_cannot_be_set: Differs("it was not refused", OPTIONS);
    peerings::options_are_set_in_the_region_of_their_end: Differs("it was not refused", OPTIONS);
    peerings::an_associated_block_is_shown: Differs("the new block is not shown", VPC_INFO);
    peerings::a_dry_run_changes_nothing: Differs("it was not refused", API);
    peerings::the_error_names_the_missing_parameter: Differs("InvalidVpcID.NotFound", ERRORS);
    reading::filters_match: Differs("status-code", FILTERS);
    reading::filters_match_wildcards: Differs("active-*", FILTERS);
    reading::an_unknown_filter_is_rejected: Differs("it was not refused", FILTERS);
    reading::pages_list_all_connections: Differs("[12]", PAGES);
    reading::page_sizes_are_limited: Differs("it was not refused", PAGES);
    reading::vpcs_are_filtered: Agrees;
    reading::an_unknown_action_is_invalid: Differs("status: 500", ERRORS);
    reading::every_answer_has_a_request_id: Agrees;
    tags::a_resource_is_created_with_tags: Agrees;
    tags::tags_are_added_replaced_and_removed: Agrees;
    tags::tags_are_described: Agrees;
    tags::tags_are_visible_only_in_their_account: Differs("another account sees them", TAGS);
    tags::a_resource_has_at_most_fifty_tags: Agrees;
    tags::the_prefix_aws_is_reserved: Differs("it was not refused", ERRORS);
    routes::ipv4_routes_are_created_replaced_and_deleted: Agrees;
    routes::a_route_through_an_ended_peering_is_a_black_hole: Differs("state: Some(Active)", ROUTES);
    routes::ipv6_routes_are_created_replaced_and_deleted: Agrees;
    routes::a_duplicate_route_is_rejected: Agrees;
    routes::an_unknown_route_is_not_found: Agrees;
    routes::a_route_table_is_deleted_unless_it_is_the_main_one: Differs("it was not refused", MAIN_TABLE);
    routes::a_local_route_cannot_be_deleted: Differs("it was not refused", LOCAL_ROUTES);
    identities::a_key_has_an_account: Agrees;
    identities::a_role_acts_in_its_account: Agrees;
    identities::an_unknown_key_is_rejected: Differs("it was not refused", ERRORS);
};

#[tokio::test]
async fn the_simulator_passes_every_check() {
    let mut failures = Vec::new();
    for check in CHECKS {
        let mut settings = ec2_simulator::Settings { any_role: true, ..Default::default() };
        settings.quotas.outstanding = 100;
        // Fast, but every transition still takes some time.
        let server = simulator(settings, Clock::new(Timestamp::now(), 10.0)).await;
        if let Err(error) = (check.run)(&Cloud::at(server.url())).await {
            failures.push(format!("{}: {error:#}", check.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn moto_passes_exactly_the_checks_where_it_agrees() {
    let moto = Moto::start();
    let mut unexpected = Vec::new();
    for check in CHECKS {
        moto.reset();
        match ((check.run)(&Cloud::at(moto.url.clone())).await, check.moto) {
            (Ok(()), Agrees) => {}
            (Err(error), Differs(text, _)) if format!("{error:#}").contains(text) => {}
            (Err(error), _) => unexpected.push(format!("{} fails on moto: {error:#}", check.name)),
            (Ok(()), Differs(_, source)) => unexpected
                .push(format!("{} passes on moto, but the table says that moto differs from {source}", check.name)),
        }
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}
