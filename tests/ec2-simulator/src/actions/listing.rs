//! The parameters and the pages that the Describe actions on parts of a VPC have in common.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::error::Result;
use crate::protocol::{Filters, Page, Params, Xml};
use crate::world::id::ResourceKind;
use crate::world::{Call, World};

/// The resources that a call asks for: some IDs or all, those that match the filters, one page of them.
pub(super) struct Listing {
    kind: ResourceKind,
    ids: Vec<String>,
    filters: Filters,
    page: Page,
}

/// How the resources of one kind are shown.
pub(super) struct Shown<'f, T> {
    /// The element with the list.
    pub(super) set: &'f str,
    pub(super) id: &'f dyn Fn(&T) -> &str,
    /// The values that a filter compares.
    pub(super) values: &'f dyn Fn(&T, &str) -> Vec<Cow<'static, str>>,
    pub(super) write: &'f dyn Fn(&mut Xml, &T),
}

/// The sizes of a page of most actions.
pub(super) const PAGE: RangeInclusive<usize> = 5..=1000;

impl Listing {
    /// Takes the IDs, the filters and the page. `filters` are those that the API reference of the action lists.
    pub(super) fn take(
        params: &mut Params,
        (action, sizes): (&'static str, &RangeInclusive<usize>),
        (kind, ids): (ResourceKind, &str),
        filters: &[&str],
    ) -> Result<Self> {
        let ids = params.list(ids);
        let filters = Filters::take(params, filters)?;
        Ok(Self { kind, ids, filters, page: Page::take(params, action, sizes)? })
    }

    /// The response. `all` are the resources that the caller sees, sorted by ID. Fails if an ID is not among them.
    pub(super) fn response<T>(&self, world: &World, call: &Call, all: &[T], shown: &Shown<'_, T>) -> Result<Xml> {
        let mut unknown = Vec::new();
        for id in &self.ids {
            self.kind.check(id)?;
            if !all.iter().any(|one| (shown.id)(one) == id) {
                unknown.push(id.as_str());
            }
        }
        if !unknown.is_empty() {
            return Err(self.kind.not_found(&unknown));
        }
        call.proceed()?;
        let passes = |one: &&T| {
            let id = (shown.id)(one);
            (self.ids.is_empty() || self.ids.iter().any(|named| named == id))
                && self.page.after().is_none_or(|after| id > after)
                && self.filters.match_all(|| world.shown_tags(&call.location, id), |name| (shown.values)(one, name))
        };
        let mut xml = Xml::default();
        let id = |one: &T| (shown.id)(one).to_owned();
        self.page.write(&mut xml, shown.set, all.iter().filter(passes), id, shown.write);
        Ok(xml)
    }
}

/// One value of a filter.
pub(super) fn one(value: impl ToString) -> Vec<Cow<'static, str>> {
    vec![Cow::Owned(value.to_string())]
}

/// The values of a filter.
pub(super) fn many<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<Cow<'static, str>> {
    values.into_iter().map(|value| Cow::Owned(value.to_string())).collect()
}
