//! The closed lists of condition types and reasons that a status may show, and what they mean to a person.

use std::fmt;

/// Defines a closed list whose every entry has its name, its meaning and what to do about it in one place.
macro_rules! closed_list {
    ($(#[$meta:meta])* $list:ident { $($name:ident: $meaning:literal, $to_do:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $list {
            $(#[doc = $meaning] $name,)*
        }

        impl $list {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name as conditions and Events show it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// What it says.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }

            /// What a person does about it.
            #[must_use]
            pub fn to_do(self) -> &'static str {
                match self {
                    $(Self::$name => $to_do,)*
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
        Ready: "True when all is as the spec wants it; always present.",
            "Read its reason and message.";
        Reconciling: "Present, and True, while the operator or EC2 is still working towards the spec.",
            "Wait; the message says what for.";
        Stalled: "Present, and True, when nothing will change until somebody acts; never together with Reconciling.",
            "Act as its reason and message say.";
        DryRunSucceeded: "EC2's answer to a dry run: True when the request would have succeeded.",
            "Set `spec.dryRun` to false to make the request.";
        ExpiringSoon: "Present, and True, when a request that nobody has accepted expires within 24 hours.",
            "Ask the accepter's owner to accept it.";
        AtCapacity: "Present, and True, when a request waits only because `spec.maxConnections` is reached.",
            "Raise `spec.maxConnections`, or have one of the connections deleted.";
        OptionsSynced: "Whether the options of every end that we act for are as the spec wants them; present where it names any.",
            "Read its reason and message.";
        RoutesReady: "Whether the routes of every end that we act for are as the spec wants them; present where it asks for any.",
            "Read its reason and message.";
        UnexpectedConnection: "Present, and True, when EC2 shows a connection that carries this resource's ownership tags and is not its peering; it was left alone.",
            "Remove the tags from the connection that the message names, and find out who set them.";
        Suspended: "Present, and True, while `spec.suspend` keeps the operator from writing to AWS.",
            "Set `spec.suspend` to false to go on.";
    }
}

closed_list! {
    /// The `reason` of a condition, and of the Event that announces it.
    Reason {
        Active: "EC2 shows the peering as `active`.",
            "Nothing.";
        InitiatingRequest: "The request is being made, or EC2 is checking it: `initiating-request`.",
            "Nothing.";
        PendingAcceptance: "The request waits for the accepter's owner: `pending-acceptance`.",
            "Nothing where the operator accepts it; else ask the accepter's owner to.";
        Provisioning: "The request was accepted, and EC2 is setting the peering up: `provisioning`.",
            "Nothing.";
        Deleting: "EC2 is deleting the peering: `deleting`.",
            "Nothing where this resource is being deleted; else find out who deleted it.";
        Failed: "The request failed, for instance because CIDR blocks overlap: `failed`.",
            "Correct the VPCs, the account or the region; then ask for a new request with the annotation `vpcpeering.dev/reconcile-at`, or make a new resource.";
        Rejected: "The accepter's owner rejected the request: `rejected`.",
            "Talk to them; then ask for a new request with the annotation `vpcpeering.dev/reconcile-at`.";
        Expired: "Nobody accepted within seven days: `expired`.",
            "Ask for a new request with the annotation `vpcpeering.dev/reconcile-at`, and have it accepted in time.";
        Deleted: "The peering was deleted by somebody else: `deleted`.",
            "If it is still wanted, ask for a new one with the annotation `vpcpeering.dev/reconcile-at`; else delete the resource.";
        NotFound: "EC2 does not know the connection, or no longer.",
            "As for `Deleted`; if the ID stands in the spec, check it, the region and the account.";
        UnknownStatusCode: "EC2 shows a status code that this version does not know.",
            "Look for a newer version of the operator.";
        ConnectionNotOwned: "A peering between these VPCs, or the claim to one, belongs to somebody else; the message says to whom.",
            "Delete one of the two, or, where it belongs to nobody, take it over with `spec.vpcPeeringConnectionId`.";
        ConnectionMismatch: "The connection in `spec.vpcPeeringConnectionId` does not join the VPCs of the spec; nothing was touched.",
            "Correct the ID or the two ends.";
        MultipleConnections: "More than one live peering carries this resource's ownership tags.",
            "Delete all but one of them in EC2.";
        OverlappingCidrBlocks: "CIDR blocks of the two VPCs overlap, so that EC2 would fail the request; it was not made.",
            "Use VPCs whose blocks do not overlap.";
        AwaitingConsistency: "EC2 does not show what it must have; it may lag, so that is not believed yet.",
            "Nothing.";
        AwaitingRecreation: "The peering has ended and `spec.recreateOn` asks for a new one, after a pause that grows each time.",
            "Nothing.";
        Suspended: "`spec.suspend` keeps the operator from the next step; the message says from which.",
            "Set `spec.suspend` to false to go on.";
        DryRun: "A dry run was asked for and answered.",
            "Set `spec.dryRun` to false to make the request.";
        Synced: "What the condition is about is as the spec wants it.",
            "Nothing.";
        Updating: "What the condition is about is being changed, or waits for the peering to be active.",
            "Nothing.";
        MaxConnections: "As many accepted connections live as `spec.maxConnections`, or AWS, allows.",
            "Raise `spec.maxConnections`, or have one of the connections deleted.";
        RouteConflict: "A route table has a route to the same destination with another target; it was not touched.",
            "Remove that route, or leave out its table or destination in the spec.";
        RouteTableNotFound: "A route table that the spec names is not there, or not of that VPC, or none matches.",
            "Correct the spec, or the route tables.";
        UnexpectedCidrBlock: "The other end, which is another account's, has a CIDR block that nobody here has allowed; it gets no route.",
            "If the block is wanted, add the line that the message names; else ask the owner of the other end.";
        IdentityNotFound: "There is no such `AwsIdentity`, or the operator cannot read it.",
            "Create it, or correct `identityRef`.";
        IdentityNotAllowed: "This namespace may not use the identity, or not the operator's own credentials; AWS was not asked for anything.",
            "Have an administrator allow the namespace, or name another identity in `identityRef`.";
        IdentityMismatch: "The identity is of another account than the VPC, or than the peering that is recorded.",
            "Correct `identityRef` or `ownerId`.";
        VpcNotAllowed: "The identity may not be used for this VPC; AWS was not asked for anything.",
            "Have an administrator add the VPC to the identity's `allowedVpcs`, or use another.";
        RegionNotAllowed: "The identity may not be used in this region, or this release does not know the region; AWS was not asked for anything.",
            "Correct the region, or have an administrator add it to the identity's `allowedRegions`.";
        PeerNotAllowed: "The identity may not be used for a peering with this account or VPC; AWS was not asked for anything.",
            "Have an administrator add the other end to the identity's `allowedPeers`, or use another identity.";
        ActionNotAllowed: "The identity does not allow routes, DNS options or the adoption of a connection, which the spec asks for.",
            "Have an administrator set `allowRoutes`, `allowOptions` or `allowAdoption` of the identity, or leave the field out of the spec.";
        NothingAllowed: "The identity can be assumed, and permits nothing, since a permission is absent or empty.",
            "Set the fields that the message names; `all: true` allows everything of a kind.";
        VpcNotFound: "No VPC matches the `vpcSelector`.",
            "Correct the selector, the region, the identity, or the VPC's tags.";
        AmbiguousVpc: "More than one VPC matches the `vpcSelector`.",
            "Name more tags, or the VPC by its ID.";
        Verified: "AWS gave a session of the role, and told the account that was expected.",
            "Nothing.";
        InvalidRequest: "AWS refuses what the spec asks for.",
            "Correct the spec, or AWS, as the message says.";
        Unauthorized: "AWS refuses the operator's credentials or permissions.",
            "Grant what the message names.";
        Throttled: "AWS asks the operator to slow down.",
            "Nothing; if it lasts, look for who else calls EC2 in this account and region.";
        AwsError: "AWS failed, or could not be reached.",
            "Nothing; if it lasts, check the way to AWS.";
    }
}

closed_list! {
    /// The `reason` of an Event that tells of a step, beside the Events that announce a new `Reason` of `Ready`.
    StepEvent {
        Created: "EC2 made the peering connection.", "Nothing.";
        Accepted: "The operator accepted the request.", "Nothing.";
        Rejected: "The operator rejected the request, as `spec.reject` says.", "Nothing.";
        Tagged: "The operator set tags on the connection.", "Nothing.";
        Untagged: "The operator removed tags of its own from the connection.", "Nothing.";
        OptionsSet: "The operator set the options of an end.", "Nothing.";
        RoutesChanged: "The operator added, replaced or removed routes of its own.", "Nothing.";
        DeletionRequested: "The operator asked EC2 to delete the connection.", "Nothing.";
        ExpiringSoon: "A request that nobody has accepted expires within 24 hours.",
            "Ask the accepter's owner to accept it.";
        NearQuota: "A request is made while nine tenths of one of AWS's default quotas are used.",
            "Ask AWS to raise the quota, if that has not been done.";
        UnexpectedConnection: "A connection carries this resource's ownership tags, or an earlier one's, and joins other VPCs; it was left alone.",
            "Remove the tags from the connection, and find out who set them.";
        LeftInAws: "The resource is gone, and something that it may have made is left in AWS, since EC2 no longer proves whose it is.",
            "Look at what the note names, and remove it by hand if it is not wanted.";
        Unreadable: "This version of the operator cannot read the resource, and leaves it alone.",
            "Correct the field that the message names, or use the operator's newer version that knows it.";
    }
}

impl Reason {
    /// Whether it deserves a warning even while it may pass by itself.
    #[must_use]
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::AwaitingConsistency | Self::AwaitingRecreation | Self::Throttled | Self::AwsError)
    }
}
