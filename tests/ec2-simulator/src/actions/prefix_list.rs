//! The actions on managed prefix lists.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::listing::{Listing, Shown, one};
use super::{Context, Handler, write_tags};
use crate::error::{Error, Result};
use crate::protocol::{Page, Params, Xml};
use crate::world::id::ResourceKind;
use crate::world::region::partition;
use crate::world::{Call, PrefixList, World};

/// The filters that the API reference lists, and those on tags.
const FILTERS: &[&str] = &["owner-id", "prefix-list-id", "prefix-list-name", "tag-key"];

/// The sizes of a page of both actions.
const SIZES: RangeInclusive<usize> = 1..=100;

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeManagedPrefixLists.html>
pub(super) struct Describe(Listing);

impl Handler for Describe {
    fn parse(params: &mut Params) -> Result<Self> {
        let kind = (ResourceKind::PrefixList, "PrefixListId");
        Listing::take(params, ("DescribeManagedPrefixLists", &SIZES), kind, FILTERS).map(Self)
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let (world, call) = (&*world, &context.call);
        let all: Vec<_> = world.visible_prefix_lists(&call.location).collect();
        let shown = Shown {
            set: "prefixListSet",
            id: &|list: &&PrefixList| &list.id,
            values: &|list, name| values(list, name),
            write: &|xml, list| write(xml, world, call, list),
        };
        self.0.response(world, call, &all, &shown)
    }
}

fn write(xml: &mut Xml, world: &World, call: &Call, list: &PrefixList) {
    let location = &list.location;
    let partition = partition(&location.region);
    xml.text("prefixListId", &list.id);
    xml.text("addressFamily", if list.is_ipv6() { "IPv6" } else { "IPv4" });
    xml.text("state", "create-complete");
    xml.text(
        "prefixListArn",
        format!("arn:{partition}:ec2:{}:{}:prefix-list/{}", location.region, location.account, list.id),
    );
    xml.text("prefixListName", &list.name);
    xml.text("maxEntries", list.max_entries);
    xml.text("version", list.version);
    write_tags(xml, world.shown_tags(&call.location, &list.id));
    xml.text("ownerId", &location.account);
}

fn values(list: &PrefixList, name: &str) -> Vec<Cow<'static, str>> {
    match name {
        "owner-id" => one(&list.location.account),
        "prefix-list-id" => one(&list.id),
        "prefix-list-name" => one(&list.name),
        _ => Vec::new(),
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetManagedPrefixListEntries.html>
pub(super) struct Entries {
    id: String,
    version: Option<u64>,
    page: Page,
}

impl Handler for Entries {
    fn parse(params: &mut Params) -> Result<Self> {
        Ok(Self {
            id: params.required("PrefixListId")?,
            version: params.parsed("TargetVersion")?,
            page: Page::take(params, "GetManagedPrefixListEntries", &SIZES)?,
        })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let list = world.prefix_list(&context.call, &self.id)?;
        // EC2 keeps old versions. The simulator keeps the current one.
        if let Some(version) = self.version.filter(|version| *version != list.version) {
            let message = format!("The prefix list {} has no version {version}.", list.id);
            return Err(Error::new("InvalidParameterValue", message));
        }
        context.call.proceed()?;
        // The position of an entry is its key, so that pages keep the order of the list.
        let position = |number: usize| format!("{number:05}");
        let numbers =
            (0..list.entries.len()).filter(|number| self.page.after().is_none_or(|after| *position(*number) > *after));
        let mut xml = Xml::default();
        self.page.write(&mut xml, "entrySet", numbers, position, |xml, number| {
            xml.optional("cidr", list.entries.get(number))
        });
        Ok(xml)
    }
}
