//! The DNS attributes of a VPC. `allowDnsResolutionFromRemoteVpc` has an effect only if both VPCs have both of them:
//! <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-dns.html>.

use std::fmt;

use super::blocker::Blocker;
use crate::api::Reason;
use crate::peering::settings::STALLED_REQUEUE;

/// One DNS attribute of a VPC.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcAttribute.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DnsAttribute {
    Support,
    Hostnames,
}

/// The DNS attributes of a VPC, as EC2 shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DnsAttributes {
    /// `enableDnsSupport`
    pub support: bool,
    /// `enableDnsHostnames`
    pub hostnames: bool,
}

/// The VPC of one end, and its DNS attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DnsOfVpc<'a> {
    pub vpc_id: &'a str,
    pub region: &'a str,
    /// `None` if nobody has looked, or the credentials may not look. Then EC2 judges the option.
    pub attributes: Option<&'a Result<DnsAttributes, Blocker>>,
    /// The field of the spec with the options of this end.
    pub field: &'a str,
    /// Whether the spec lets the operator turn the attributes on.
    pub is_managed: bool,
}

impl DnsAttributes {
    /// The attributes that are off, in the order in which EC2 lets them be turned on: it refuses host names while DNS
    /// support is off.
    pub(crate) fn missing(self) -> impl Iterator<Item = DnsAttribute> {
        let support = (!self.support).then_some(DnsAttribute::Support);
        support.into_iter().chain((!self.hostnames).then_some(DnsAttribute::Hostnames))
    }

    pub(crate) fn has(self, attribute: DnsAttribute) -> bool {
        match attribute {
            DnsAttribute::Support => self.support,
            DnsAttribute::Hostnames => self.hostnames,
        }
    }
}

impl DnsOfVpc<'_> {
    /// The next attribute to turn on. `None` if none is known to be off.
    pub(crate) fn first_missing(&self) -> Option<DnsAttribute> {
        self.attributes?.as_ref().ok()?.missing().next()
    }

    /// The blocker of an option, if an attribute is off or EC2 does not answer.
    pub(crate) fn blocker(&self) -> Option<Blocker> {
        let attributes = match self.attributes? {
            Ok(attributes) => attributes,
            Err(blocker) => return Some(blocker.clone()),
        };
        let Self { vpc_id, region, field, .. } = self;
        let missing: Vec<_> = attributes.missing().collect();
        let names = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        let commands = missing.iter().map(|attribute| attribute.command(region, vpc_id));
        let commands = commands.collect::<Vec<_>>().join(" && ");
        let verb = if missing.len() > 1 { "are" } else { "is" };
        let message = format!(
            "{vpc_id} in {region}: {names} {verb} off, so allowDnsResolutionFromRemoteVpc has no effect; run: {commands}; or set {field}.manageDnsAttributes to true"
        );
        let blocker = Blocker::stalled(Reason::DnsAttributeDisabled, message);
        (!missing.is_empty()).then_some(Blocker { requeue_after: Some(STALLED_REQUEUE), ..blocker })
    }
}

impl DnsAttribute {
    /// The command of the AWS CLI that turns the attribute on.
    /// <https://docs.aws.amazon.com/cli/latest/reference/ec2/modify-vpc-attribute.html>
    pub(crate) fn command(self, region: &str, vpc_id: &str) -> String {
        let flag = match self {
            Self::Support => "--enable-dns-support",
            Self::Hostnames => "--enable-dns-hostnames",
        };
        format!("aws ec2 modify-vpc-attribute --region {region} --vpc-id {vpc_id} {flag} '{{\"Value\":true}}'")
    }
}

impl fmt::Display for DnsAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Support => "enableDnsSupport",
            Self::Hostnames => "enableDnsHostnames",
        })
    }
}
