//! The closed lists of condition types, reasons and Events, each with its meaning and the action that a user takes.
//! `vpc-peering-operator reference conditions` prints them.

use std::fmt;

/// Defines an enum whose variants each have a name, a meaning and an action for the user.
macro_rules! closed_list {
    ($(#[$meta:meta])* $list:ident { $($name:ident: $meaning:literal, $action:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $list {
            $(#[doc = $meaning] $name,)*
        }

        impl $list {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in conditions and Events.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            pub(crate) fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }

            /// The action that a user takes.
            pub(crate) fn action(self) -> &'static str {
                match self {
                    $(Self::$name => $action,)*
                }
            }
        }

        impl fmt::Display for $list {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

closed_list! {
    /// The `type` of a condition.
    ConditionType {
        Ready: "True only if everything matches the spec. For an active connection: if no `OptionsSynced` or `RoutesReady` is False, and the tags match. Always present.",
            "Read its reason and message.";
        Reconciling: "Present and True while the operator or EC2 is still working to match the spec.",
            "Wait. The message says for what.";
        Stalled: "Present and True if nothing changes until somebody acts. Never present together with `Reconciling`.",
            "Read its reason and message, and fix the cause.";
        DryRunSucceeded: "The answer of EC2 to a dry run: True if the credentials have the permissions for the request. EC2 checks nothing else in a dry run: overlapping CIDR blocks, quotas and a wrong accepter show only after the request.",
            "Set `spec.dryRun` to false to make the request.";
        ExpiringSoon: "Present and True if a request that nobody has accepted expires within 24 hours.",
            "Ask the owner of the accepter's account to accept it.";
        AtCapacity: "Present and True if a request waits only because `spec.maxConnections` is reached.",
            "Raise `spec.maxConnections`, or delete one of the connections in EC2.";
        OptionsSynced: "True if the options match the spec at every end that the operator acts for. Present until the deletion, if the spec sets options, and neither `Observe` nor `dryRun`.",
            "Read its reason and message.";
        RoutesReady: "True if the routes match the spec at every end that the operator acts for. Present until the deletion, if the spec sets routes, and neither `Observe` nor `dryRun`.",
            "Read its reason and message.";
        UnexpectedConnection: "Present and True if EC2 shows another connection with the ownership tags of this resource. The operator does not change that connection.",
            "Remove the tags from the connection that the message names. Find out who set them.";
        Suspended: "Present and True while `spec.suspend` stops all writes to AWS.",
            "Set `spec.suspend` to false to resume.";
    }
}

closed_list! {
    /// The `reason` of a condition, and of the Event that reports it.
    Reason {
        Active: "The peering is active: EC2 shows `active`.",
            "Nothing.";
        InitiatingRequest: "The operator is creating the request, or EC2 is checking it: `initiating-request`.",
            "Nothing.";
        PendingAcceptance: "The request waits to be accepted: `pending-acceptance`.",
            "Nothing if the operator accepts it. Otherwise ask the owner of the accepter's account to accept it.";
        Provisioning: "The request was accepted, and EC2 is provisioning the peering: `provisioning`.",
            "Nothing.";
        Deleting: "EC2 is deleting the peering: `deleting`.",
            "Nothing if this resource is being deleted. Otherwise find out who deleted the peering.";
        Failed: "The request failed, for example because CIDR blocks overlap: `failed`.",
            "Fix the cause, then set the annotation `vpcpeering.dev/reconcile-at` to a new value: the operator sends a new request. If the VPCs, the account or the region are wrong, create another resource.";
        Rejected: "The owner of the accepter's account rejected the request: `rejected`.",
            "Contact the owner, then set the annotation `vpcpeering.dev/reconcile-at` to a new value: the operator sends a new request.";
        Expired: "Nobody accepted the request within seven days: `expired`.",
            "Set the annotation `vpcpeering.dev/reconcile-at` to a new value: the operator sends a new request. Have it accepted within seven days.";
        Deleted: "Somebody other than the operator deleted the peering: `deleted`. The operator removes its routes.",
            "If the peering is still wanted, set the annotation `vpcpeering.dev/reconcile-at` to a new value: the operator sends a new request. Otherwise delete the resource.";
        NotFound: "EC2 does not show the connection, or no longer shows it.",
            "If `spec.vpcPeeringConnectionId` or `spec.adopt.connectionIds` names it, check the ID, the account and the region. Otherwise proceed as for `Deleted`.";
        UnknownStatusCode: "EC2 shows a status code that this version of the operator does not know.",
            "Upgrade the operator to a version that knows the code.";
        ConnectionNotOwned: "Another resource or another cluster owns the peering between these VPCs, or has priority to request it. The message names the owner.",
            "Delete one of the two resources. If the connection has no owner, adopt it with `spec.vpcPeeringConnectionId`, or at the accepter's end with `spec.adopt` of a `VpcPeeringAccepter`.";
        ConnectionMismatch: "The connection does not join the VPCs of the spec. The operator does not change it.",
            "Correct `spec.vpcPeeringConnectionId`, or create a resource with the VPCs of the connection.";
        MultipleConnections: "More than one live connection has the ownership tags of this resource.",
            "Delete all but one of them in EC2.";
        OverlappingCidrBlocks: "CIDR blocks of the two VPCs overlap. EC2 would fail the request, so the operator does not send it.",
            "Use VPCs whose CIDR blocks do not overlap.";
        AwaitingConsistency: "EC2 does not show an expected connection or change yet. The operator waits for EC2's eventual consistency (`--consistency-window`).",
            "Nothing.";
        AwaitingQuota: "An AWS quota on peering connections or requests is used up. The operator sends the request when there is room, in fair order. The message names the quota.",
            "Have requests accepted or rejected, delete connections that nobody needs, or request a higher quota from AWS. Allow `servicequotas:GetServiceQuota`, so that the operator knows the account's own quotas.";
        AwaitingRecreation: "The peering has ended, and the operator requests a new one after a pause, because of `spec.recreateOn`. The pause doubles with each consecutive request.",
            "Nothing.";
        Suspended: "`spec.suspend` stops the next step, which the message names.",
            "Set `spec.suspend` to false to resume.";
        DryRun: "`spec.dryRun` is set, and EC2 has confirmed the permissions for the request.",
            "Set `spec.dryRun` to false to make the request.";
        Synced: "The options or routes match the spec.",
            "Nothing.";
        Updating: "The operator is changing tags, options or routes, waits until EC2 shows such a change, or waits until the peering is active.",
            "Nothing.";
        DnsAttributeDisabled: "`enableDnsSupport` or `enableDnsHostnames` of a VPC is off. The option `allowDnsResolutionFromRemoteVpc` has no effect unless both attributes of both VPCs are on, and the operator does not set it. The message names the VPC, the attribute and the command that turns it on.",
            "Run the command, or set `manageDnsAttributes` in the options of that end.";
        MaxConnections: "The number of accepted connections has reached `spec.maxConnections`.",
            "Raise `spec.maxConnections`, or delete one of the connections in EC2.";
        RouteConflict: "A route table has a route to the same destination with another target. The operator does not change it. The target may be another connection of the same `VpcPeeringAccepter`, whose requester has the same CIDR block.",
            "Delete that route, or remove its route table or destination from the spec. For two requesters with the same CIDR block, set `destinationCidrBlocks` to destinations that only one of them has.";
        RouteTableFull: "A route table has no room for the routes by AWS's quota. A prefix list counts with its maximum number of entries. The routes of all other tables are kept. The message names the route table.",
            "Remove routes from the route table, exclude it in `routeTables.exclude`, or request a higher quota from AWS (`L-93826ACB`, routes per route table).";
        RouteTableNotFound: "A route table of the spec does not exist or does not belong to the VPC, or no route table matches.",
            "Correct `routeTables` in the spec, or the route tables in EC2.";
        PrefixListNotFound: "A prefix list of the spec does not exist in the region, or the account does not see it. The operator creates no route to it, and keeps existing ones.",
            "Correct `destinationPrefixListIds`, or ask the owner of the list to share it by AWS RAM.";
        UnexpectedCidrBlock: "The other end has a CIDR block that the spec does not allow. The operator creates no route to it. Or a prefix list has an entry that does not lie within such an allowed block: the list has no route, and the message names the list and the entry. If a new connection of a `VpcPeeringAccepter` has such a block, it gets no routes at all.",
            "If the block is wanted, add it to the field that the message names. Otherwise ask the owner of the other end. Remove the entry from the prefix list.";
        IdentityNotFound: "The `AwsIdentity` does not exist, or the operator cannot read it.",
            "Create the `AwsIdentity`, or correct `identityRef`. To delete the resource and leave its peering in AWS, set `spec.deletionPolicy` to `Retain`.";
        IdentityNotAllowed: "The namespace may not use the `AwsIdentity`, or may not use the operator's own credentials. The operator made no AWS call.",
            "Ask an administrator to allow the namespace, or set `identityRef` to another `AwsIdentity`.";
        IdentityMismatch: "The identity belongs to another account than the VPC or the recorded peering. Only the owner of a VPC that is shared by AWS RAM can peer it.",
            "Correct `identityRef` or `ownerId`.";
        VpcNotAllowed: "The `AwsIdentity` may not be used for this VPC. The operator made no AWS call.",
            "Ask an administrator to add the VPC to `allowedVpcs` of the `AwsIdentity`, or use another VPC.";
        RegionNotAllowed: "The `AwsIdentity` may not be used in this region, or this version of the operator does not know the region. The operator made no AWS call.",
            "Correct the region, or ask an administrator to add it to `allowedRegions` of the `AwsIdentity`.";
        PeerNotAllowed: "The `AwsIdentity` may not be used for a peering with this account or VPC. The operator made no AWS call.",
            "Ask an administrator to add the other end to `allowedPeers` of the `AwsIdentity`, or use another `AwsIdentity`.";
        ActionNotAllowed: "The spec sets routes, DNS options or the adoption of a connection, which the `AwsIdentity` does not allow.",
            "Ask an administrator to set `allowRoutes`, `allowOptions`, `allowVpcAttributes` or `allowAdoption` of the `AwsIdentity`, or remove the field from the spec.";
        NothingAllowed: "The operator can assume the role, but the `AwsIdentity` permits nothing, because a permission is absent or empty.",
            "Set the fields that the message names. `all: true` allows everything of a field.";
        VpcNotFound: "No VPC matches the `vpcSelector`.",
            "Correct the selector, the region, `identityRef`, or the tags of the VPC.";
        AmbiguousVpc: "More than one VPC matches the `vpcSelector`, or the nodes of the cluster are in more than one VPC.",
            "Add tags to the selector, or set `vpcId` instead.";
        AwaitingReference: "The object in `vpcRef` has no VPC yet, or is not ready. The operator waits for it.",
            "Nothing. If it lasts, look at the status of the object.";
        ReferenceNotFound: "The object in `vpcRef` does not exist, its kind is not known, or the operator cannot read it.",
            "Correct `vpcRef`, install the CRD, or grant the operator the rights that the message names.";
        ReferenceNotAllowed: "The object in `vpcRef` is in another namespace, or its kind is cluster-scoped, and it does not exist or does not permit references from the namespace of the resource.",
            "Ask the owner of the object to list the namespace in its annotation `vpcpeering.dev/allowed-namespaces`.";
        Verified: "The operator assumed the role, and its account is `spec.accountId`.",
            "Nothing.";
        InvalidRequest: "AWS refused a request because of its content.",
            "Correct the spec, or the settings in AWS, as the message says.";
        Unauthorized: "AWS refused the credentials, or they lack a permission.",
            "Grant the permission that the message names, or fix the trust policy or the credentials.";
        Throttled: "AWS throttles the requests of the operator. It retries with backoff.",
            "Nothing. If it lasts, find out what else calls EC2 in this account and region.";
        AwsError: "AWS returned an error, or could not be reached. The operator retries with backoff.",
            "Nothing. If it lasts, check the network path to AWS.";
    }
}

closed_list! {
    /// The `reason` of an Event that reports a step. Further Events report each new `Reason` of `Ready`.
    StepEvent {
        Created: "EC2 created the peering connection.", "Nothing.";
        Accepted: "The operator accepted the request.", "Nothing.";
        Rejected: "The operator rejected the request, because of `spec.deny` and `spec.reject`.", "Nothing.";
        Tagged: "The operator set tags on the connection.", "Nothing.";
        Untagged: "The operator removed tags that it had set on the connection.", "Nothing.";
        OptionsSet: "The operator set the peering options of an end.", "Nothing.";
        DnsAttributeSet: "The operator turned on a DNS attribute of a VPC, because of `manageDnsAttributes`. It does not turn it off again.",
            "Nothing.";
        RoutesChanged: "The operator created, replaced or deleted routes.", "Nothing.";
        DeletionRequested: "The operator requested the deletion of the connection from EC2.", "Nothing.";
        ExpiringSoon: "A request that nobody has accepted expires within 24 hours.",
            "Ask the owner of the accepter's account to accept it.";
        NearQuota: "The operator sends a request while at least 90 % of an AWS quota are used.",
            "Request a quota increase from AWS, if you have not done so.";
        UnexpectedConnection: "A connection between other VPCs has the ownership tags of this resource or of an earlier one. The operator does not change it.",
            "Remove the tags from the connection. Find out who set them.";
        StaleSecurityGroupRules: "The operator deletes a connection, and rules of security groups name a group of the other VPC. The rules stay, and permit nothing any more. Reported under `--security-group-warnings`.",
            "Revoke the rules of the security groups that the note names. `aws ec2 describe-stale-security-groups` lists them.";
        LeftInAws: "The resource is deleted, but what the note names stays in AWS. Either EC2 no longer proves that the resource owns it, or the operator may no longer act in AWS for the resource and `spec.deletionPolicy` is `Retain`.",
            "Check what the note of the Event names. Delete it in AWS if it is not wanted.";
        Unreadable: "This version of the operator cannot decode the resource, and does not reconcile it.",
            "Correct the field that the message names, or upgrade the operator to a version that knows it.";
    }
}

impl Reason {
    /// Whether the Event of this reason is a warning although the cause may pass without an action.
    pub(crate) fn is_trouble(self) -> bool {
        matches!(
            self,
            Self::AwaitingConsistency
                | Self::AwaitingQuota
                | Self::AwaitingRecreation
                | Self::Throttled
                | Self::AwsError
        )
    }
}
