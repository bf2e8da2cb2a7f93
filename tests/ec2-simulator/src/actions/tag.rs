//! The actions on tags.

use super::{Context, Handler, done};
use crate::error::{Error, Result};
use crate::protocol::{Filters, Page, Params, Xml};
use crate::world::id::ResourceKind;
use crate::world::{Tags, World};

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html>
pub(super) struct Create {
    resources: Vec<String>,
    tags: Tags,
}

impl Handler for Create {
    fn parse(params: &mut Params) -> Result<Self> {
        let (resources, tags) = (params.list("ResourceId"), params.tags("Tag")?);
        if tags.is_empty() {
            return Err(Error::missing_parameter("Tag"));
        }
        Ok(Self { resources, tags })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        world.create_tags(&context.call, &self.resources, &self.tags)?;
        Ok(done())
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteTags.html>
pub(super) struct Delete {
    resources: Vec<String>,
    tags: Vec<(String, Option<String>)>,
}

impl Handler for Delete {
    fn parse(params: &mut Params) -> Result<Self> {
        Ok(Self { resources: params.list("ResourceId"), tags: params.pairs("Tag")? })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        world.delete_tags(&context.call, &self.resources, &self.tags)?;
        Ok(done())
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeTags.html>
pub(super) struct Describe {
    filters: Filters,
    page: Page,
}

/// The filters that the API reference lists.
const FILTERS: &[&str] = &["key", "resource-id", "resource-type", "value"];

impl Handler for Describe {
    fn parse(params: &mut Params) -> Result<Self> {
        let filters = Filters::take(params, FILTERS)?;
        Ok(Self { filters, page: Page::take(params, "DescribeTags", &(5..=1000))? })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        context.call.proceed()?;
        let all = world.all_shown_tags(&context.call.location);
        let all = all.flat_map(|(id, tags)| tags.iter().map(move |(key, value)| (id, key, value, tags)));
        let passes = |(id, key, value, tags): &(&str, &String, &String, &Tags)| {
            self.page.after().is_none_or(|after| position(id, key).as_str() > after)
                && self.filters.match_all(
                    || Some(*tags),
                    |name| match name {
                        "key" => vec![key.as_str().to_owned().into()],
                        "resource-id" => vec![(*id).to_owned().into()],
                        "resource-type" => vec![type_of(id).into()],
                        "value" => vec![value.as_str().to_owned().into()],
                        _ => Vec::new(),
                    },
                )
        };
        let mut xml = Xml::default();
        self.page.write(
            &mut xml,
            "tagSet",
            all.filter(passes),
            |(id, key, _, _)| position(id, key),
            |xml, (id, key, value, _)| {
                xml.text("resourceId", id);
                xml.text("resourceType", type_of(id));
                xml.text("key", key);
                xml.text("value", value);
            },
        );
        Ok(xml)
    }
}

/// The resource type, derived from the prefix of the ID.
fn type_of(id: &str) -> &'static str {
    ResourceKind::of(id).map_or("", ResourceKind::type_name)
}

/// The sort key of a tag in the listing. Resource IDs contain no space, so the key is unique.
fn position(id: &str, key: &str) -> String {
    format!("{id} {key}")
}
