"""The main checks of the contract with boto3. The first argument is the URL of the simulator."""

import json
import sys
import urllib.request
from datetime import datetime, timedelta, timezone

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

URL = sys.argv[1]
HERE, ELSEWHERE = "us-east-1", "eu-west-1"
ACCOUNT, ANOTHER = "111111111111", "222222222222"
UNKNOWN = "pcx-0123456789abcdef0"
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def client(service="ec2", region=HERE, key="test", secret="any", token=None):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=URL,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )


def another(region=HERE):
    role = f"arn:aws:iam::{ANOTHER}:role/peer"
    keys = client("sts").assume_role(RoleArn=role, RoleSessionName="core")["Credentials"]
    assert keys["Expiration"] > datetime.now(timezone.utc) + timedelta(minutes=50), keys
    return client(region=region, key=keys["AccessKeyId"], secret=keys["SecretAccessKey"], token=keys["SessionToken"])


def control(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{URL}/_simulator/{path}", data=data, method=method)
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def refused(code, status, call, **arguments):
    try:
        answer = call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status, error.response
        assert error.response["ResponseMetadata"]["RequestId"], error.response
        return error.response["Error"]["Message"]
    raise AssertionError(f"{call.__name__} was not refused: {answer}")


def vpc(ec2, block):
    return ec2.create_vpc(CidrBlock=block)["Vpc"]["VpcId"]


def request(ec2, requester, accepter, **more):
    answer = ec2.create_vpc_peering_connection(VpcId=requester, PeerVpcId=accepter, **more)
    return answer["VpcPeeringConnection"]


def pending(ec2):
    return request(ec2, vpc(ec2, "10.0.0.0/16"), vpc(ec2, "10.1.0.0/16"))["VpcPeeringConnectionId"]


def active(ec2):
    peering = pending(ec2)
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peering)
    assert describe(ec2, peering)["Status"]["Code"] == "active"
    return peering


def describe(ec2, peering):
    answer = ec2.describe_vpc_peering_connections(VpcPeeringConnectionIds=[peering])
    return answer["VpcPeeringConnections"][0]


@check
def a_request_is_validated_and_then_pending():
    ec2 = client()
    made = request(ec2, vpc(ec2, "10.0.0.0/16"), vpc(ec2, "10.1.0.0/16"))
    assert made["Status"] == {"Code": "initiating-request", "Message": f"Initiating Request to {ACCOUNT}"}, made
    left = made["ExpirationTime"] - datetime.now(timezone.utc)
    assert timedelta(days=6.9) < left < timedelta(days=7.1), left
    shown = describe(ec2, made["VpcPeeringConnectionId"])
    assert shown["Status"]["Code"] == "pending-acceptance", shown
    assert "CidrBlock" not in shown["AccepterVpcInfo"], shown


@check
def an_active_connection_shows_blocks_and_options():
    shown = describe(client(), active(client()))
    accepter = shown["AccepterVpcInfo"]
    assert accepter["CidrBlockSet"] == [{"CidrBlock": "10.1.0.0/16"}], accepter
    assert accepter["PeeringOptions"]["AllowDnsResolutionFromRemoteVpc"] is False, accepter
    assert "ExpirationTime" not in shown, shown


@check
def another_account_in_another_region_accepts():
    ec2, theirs = client(), another(ELSEWHERE)
    peer = vpc(theirs, "10.1.0.0/16")
    made = request(ec2, vpc(ec2, "10.0.0.0/16"), peer, PeerOwnerId=ANOTHER, PeerRegion=ELSEWHERE)
    peering = made["VpcPeeringConnectionId"]
    describe(ec2, peering)
    message = refused(
        "OperationNotPermitted", 400, ec2.accept_vpc_peering_connection, VpcPeeringConnectionId=peering
    )
    assert message == f"User {ACCOUNT} cannot accept peering {peering}", message
    accepted = theirs.accept_vpc_peering_connection(VpcPeeringConnectionId=peering)["VpcPeeringConnection"]
    assert accepted["Status"]["Code"] == "provisioning", accepted
    assert describe(ec2, peering)["Status"]["Code"] == "active"
    assert describe(theirs, peering)["Status"]["Code"] == "active"


@check
def the_wrong_region_cannot_accept():
    ec2, there = client(), client(region=ELSEWHERE)
    made = request(ec2, vpc(ec2, "10.0.0.0/16"), vpc(there, "10.1.0.0/16"), PeerRegion=ELSEWHERE)
    peering = made["VpcPeeringConnectionId"]
    message = refused(
        "OperationNotPermitted", 400, ec2.accept_vpc_peering_connection, VpcPeeringConnectionId=peering
    )
    assert message.startswith(f"Incorrect region ({HERE}) specified for this request."), message


@check
def a_rejected_request_can_be_neither_accepted_nor_deleted():
    ec2 = client()
    peering = pending(ec2)
    assert ec2.reject_vpc_peering_connection(VpcPeeringConnectionId=peering)["Return"] is True
    for call, to in ((ec2.accept_vpc_peering_connection, "provisioning"), (ec2.delete_vpc_peering_connection, "deleting")):
        message = refused("InvalidStateTransition", 400, call, VpcPeeringConnectionId=peering)
        assert message == (
            f"Invalid state transition for {peering}, attempted to transition from rejected to {to}"
        ), message


@check
def a_deleted_connection_satisfies_the_waiter():
    ec2 = client()
    peering = active(ec2)
    assert ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=peering)["Return"] is True
    waiter = ec2.get_waiter("vpc_peering_connection_deleted")
    waiter.wait(VpcPeeringConnectionIds=[peering], WaiterConfig={"Delay": 1, "MaxAttempts": 3})
    waiter.wait(VpcPeeringConnectionIds=[UNKNOWN], WaiterConfig={"Delay": 1, "MaxAttempts": 3})


@check
def the_waiter_does_not_find_an_unknown_connection():
    try:
        client().get_waiter("vpc_peering_connection_exists").wait(
            VpcPeeringConnectionIds=[UNKNOWN], WaiterConfig={"Delay": 0, "MaxAttempts": 2}
        )
    except WaiterError:
        return
    raise AssertionError("the waiter found it")


@check
def overlapping_blocks_fail_later():
    ec2 = client()
    made = request(ec2, vpc(ec2, "10.0.0.0/16"), vpc(ec2, "10.0.9.0/24"))
    shown = describe(ec2, made["VpcPeeringConnectionId"])
    assert shown["Status"]["Code"] == "failed", shown
    assert "overlapping CIDR range" in shown["Status"]["Message"], shown


@check
def a_repeated_request_returns_the_same_connection_and_the_opposite_direction_another():
    ec2 = client()
    one, two = vpc(ec2, "10.0.0.0/16"), vpc(ec2, "10.1.0.0/16")
    first = request(ec2, one, two)["VpcPeeringConnectionId"]
    assert request(ec2, one, two)["VpcPeeringConnectionId"] == first
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=first)
    swapped = request(ec2, two, one)["VpcPeeringConnectionId"]
    assert swapped != first
    refused(
        "VpcPeeringConnectionAlreadyExists", 400, ec2.accept_vpc_peering_connection, VpcPeeringConnectionId=swapped
    )


@check
def dns_options_need_dns_host_names():
    ec2 = client()
    peering = active(ec2)
    change = {
        "VpcPeeringConnectionId": peering,
        "RequesterPeeringConnectionOptions": {"AllowDnsResolutionFromRemoteVpc": True},
    }
    modify = ec2.modify_vpc_peering_connection_options
    refused("InvalidVpcPeeringConnectionState.DnsHostnamesDisabled", 400, modify, **change)
    shown = describe(ec2, peering)
    for end in ("RequesterVpcInfo", "AccepterVpcInfo"):
        ec2.modify_vpc_attribute(VpcId=shown[end]["VpcId"], EnableDnsHostnames={"Value": True})
    answer = modify(**change)
    assert answer["RequesterPeeringConnectionOptions"]["AllowDnsResolutionFromRemoteVpc"] is True, answer
    options = describe(ec2, peering)["RequesterVpcInfo"]["PeeringOptions"]
    assert options["AllowDnsResolutionFromRemoteVpc"] is True, options


@check
def a_dry_run_returns_an_error():
    ec2 = client()
    one, two = vpc(ec2, "10.0.0.0/16"), vpc(ec2, "10.1.0.0/16")
    ask = ec2.create_vpc_peering_connection
    refused("DryRunOperation", 412, ask, VpcId=one, PeerVpcId=two, DryRun=True)
    refused("InvalidVpcID.NotFound", 400, ask, VpcId="vpc-0123456789abcdef0", PeerVpcId=two, DryRun=True)


@check
def pages_and_filters():
    ec2 = client()
    hub = vpc(ec2, "10.0.0.0/16")
    specification = {"ResourceType": "vpc-peering-connection", "Tags": [{"Key": "hub", "Value": hub}]}
    made = {
        request(ec2, hub, vpc(ec2, f"10.{number}.0.0/16"), TagSpecifications=[specification])["VpcPeeringConnectionId"]
        for number in range(1, 8)
    }
    pages = list(
        ec2.get_paginator("describe_vpc_peering_connections").paginate(
            Filters=[{"Name": "tag:hub", "Values": [hub]}], PaginationConfig={"PageSize": 5}
        )
    )
    assert [len(page["VpcPeeringConnections"]) for page in pages] == [5, 2], pages
    assert {one["VpcPeeringConnectionId"] for page in pages for one in page["VpcPeeringConnections"]} == made
    by_vpc = ec2.describe_vpc_peering_connections(
        Filters=[
            {"Name": "requester-vpc-info.vpc-id", "Values": [hub]},
            {"Name": "status-code", "Values": ["pending-*", "active"]},
        ]
    )
    assert len(by_vpc["VpcPeeringConnections"]) == 7, by_vpc
    wrong = [{"Name": "nonsense", "Values": ["x"]}]
    refused("InvalidParameterValue", 400, ec2.describe_vpc_peering_connections, Filters=wrong)


@check
def tags_are_read_back():
    ec2 = client()
    peering = pending(ec2)
    ec2.create_tags(Resources=[peering], Tags=[{"Key": "a<&>", "Value": "ü \"'"}, {"Key": "b", "Value": ""}])
    tags = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [peering]}])["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"a<&>": "ü \"'", "b": ""}, tags
    ec2.delete_tags(Resources=[peering], Tags=[{"Key": "b"}])
    assert [tag["Key"] for tag in describe(ec2, peering)["Tags"]] == ["a<&>"]
    ec2.delete_tags(Resources=[peering])
    assert describe(ec2, peering)["Tags"] == []


@check
def routes_are_active_while_the_peering_is_active():
    ec2 = client()
    peering = active(ec2)
    requester = describe(ec2, peering)["RequesterVpcInfo"]["VpcId"]
    table = ec2.create_route_table(VpcId=requester)["RouteTable"]["RouteTableId"]
    route = {"RouteTableId": table, "DestinationCidrBlock": "10.1.0.0/16"}
    assert ec2.create_route(VpcPeeringConnectionId=peering, **route)["Return"] is True
    refused("RouteAlreadyExists", 400, ec2.create_route, VpcPeeringConnectionId=peering, **route)

    def state():
        routes = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
        return {one["DestinationCidrBlock"]: one["State"] for one in routes}

    assert state() == {"10.0.0.0/16": "active", "10.1.0.0/16": "active"}, state()
    ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=peering)
    assert state()["10.1.0.0/16"] == "blackhole", state()
    ec2.delete_route(**route)
    refused("InvalidRoute.NotFound", 400, ec2.delete_route, **route)


@check
def vpcs_have_attributes_and_can_be_deleted():
    ec2 = client()
    made = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    assert made["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].endswith("::/56"), made
    attribute = ec2.describe_vpc_attribute(VpcId=made["VpcId"], Attribute="enableDnsSupport")
    assert attribute["EnableDnsSupport"] == {"Value": True}, attribute
    ec2.delete_vpc(VpcId=made["VpcId"])
    refused("InvalidVpcID.NotFound", 400, ec2.describe_vpcs, VpcIds=[made["VpcId"]])


@check
def callers_are_identified_by_their_access_key():
    caller = client("sts").get_caller_identity()
    assert caller["Account"] == ACCOUNT, caller
    refused("AuthFailure", 401, client(key="AKIAUNKNOWN000000000").describe_vpcs)
    refused("InvalidClientTokenId", 403, client("sts", key="AKIAUNKNOWN000000000").get_caller_identity)
    theirs = vpc(another(), "10.0.0.0/16")
    refused("InvalidVpcID.NotFound", 400, client().describe_vpcs, VpcIds=[theirs])


@check
def an_unknown_action_is_invalid():
    message = refused("InvalidAction", 400, client().describe_instances)
    assert "DescribeInstances" in message, message


@check
def faults_can_be_injected():
    ec2 = client()
    fault = {"match": {"action": "DescribeVpcs"}, "count": 1, "kind": "throttle"}
    control("POST", "faults", fault)
    refused("RequestLimitExceeded", 503, ec2.describe_vpcs)
    ec2.describe_vpcs()


@check
def the_clock_expires_a_request():
    ec2 = client()
    peering = pending(ec2)
    control("POST", "clock", {"advance": 7 * 24 * 60 * 60})
    assert describe(ec2, peering)["Status"]["Code"] == "expired"
    refused("InvalidStateTransition", 400, ec2.accept_vpc_peering_connection, VpcPeeringConnectionId=peering)


if __name__ == "__main__":
    for one in CHECKS:
        try:
            one()
        except Exception:
            print(f"{one.__name__} failed", file=sys.stderr)
            raise
    print(f"{len(CHECKS)} checks passed")
