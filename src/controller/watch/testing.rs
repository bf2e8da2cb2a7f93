//! Objects and events for the tests of the watches.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::runtime::watcher::Event;

pub(super) fn namespace(name: &str, label: &str) -> Namespace {
    let labels = [("label".to_owned(), label.to_owned())].into();
    Namespace {
        metadata: ObjectMeta { name: Some(name.into()), labels: Some(labels), ..ObjectMeta::default() },
        ..Namespace::default()
    }
}

/// A short text for an event.
pub(super) fn text(event: &Event<Namespace>) -> String {
    match event {
        Event::Apply(object) => format!("apply {}", object.name_any()),
        Event::Delete(object) => format!("delete {}", object.name_any()),
        Event::InitApply(object) => format!("list {}", object.name_any()),
        Event::Init => "begin".into(),
        Event::InitDone => "done".into(),
    }
}
