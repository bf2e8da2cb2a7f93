//! Decodes objects without the parts that the operator does not use. Labels, annotations, owners and `managedFields` may be
//! a megabyte of JSON per object, and take several times as much memory once they are decoded. The decoder skips them.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::api::RECONCILE_AT;
use crate::controller::truncate::truncate;

/// The largest object that is decoded, in bytes of JSON. Each answer to a write holds a few copies of the text. The limit of
/// etcd is 1.5 MiB.
const LARGEST: usize = 1 << 20;

/// The most memory of a decoded object, in bytes by [`cost`]: some 2,500 routes, or a hundred accepted connections with their
/// tags and 2,000 routes. 200 objects of this size fit into the chart's memory limit.
const MOST_KEPT: usize = 640 << 10;

/// An object with more bytes of JSON than this is large: its reconcile also holds a new status and the text of a write.
const LARGE: usize = 64 << 10;

/// The memory of a value beside its text, in bytes: a `String` and its place in a list.
const EACH_VALUE: usize = 24;

/// The length to which the annotation `vpcpeering.dev/reconcile-at` is kept and compared, in bytes.
const RECONCILE_AT_LENGTH: usize = 256;

/// The longest error text, in bytes. It may quote the object.
const ERROR_LENGTH: usize = 512;

/// An object, or the reason why it cannot be decoded. With `LABELS`, its labels are kept.
#[derive(Clone, Debug)]
pub(in crate::controller) struct Wire<K, const LABELS: bool = false>(pub Result<K, Box<Undecodable>>);

/// The reason why an object cannot be decoded.
#[derive(Clone, Debug, Error)]
#[error("this version of the operator cannot read the resource: {error}")]
pub(in crate::controller) struct Undecodable {
    pub error: String,
    pub metadata: ObjectMeta,
}

impl From<Box<Undecodable>> for kube::Error {
    fn from(undecodable: Box<Undecodable>) -> Self {
        Self::Service(undecodable)
    }
}

/// An object before its fields are decoded.
#[derive(Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

/// The metadata that is kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    #[serde(borrow, default)]
    annotations: Option<Annotations<'a>>,
    #[serde(borrow, default)]
    finalizers: Option<&'a RawValue>,
    #[serde(borrow, default)]
    labels: Option<&'a RawValue>,
}

/// The annotations that are kept.
#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(borrow, default, rename = "vpcpeering.dev/reconcile-at")]
    reconcile_at: Option<Cow<'a, str>>,
}

/// The kept parts of an object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept<'a> {
    api_version: Cow<'a, str>,
    kind: Cow<'a, str>,
    metadata: &'a ObjectMeta,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a RawValue>,
}

impl<'de, K, const LABELS: bool> Deserialize<'de> for Wire<K, LABELS>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        read::<K, LABELS>(text.get()).map(Self).map_err(D::Error::custom)
    }
}

impl<K: Resource, const LABELS: bool> Resource for Wire<K, LABELS> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &K::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|undecodable| &undecodable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|undecodable| &mut undecodable.metadata, K::meta_mut)
    }
}

/// Decodes an object of any size. Fails only if the text is no Kubernetes object.
fn read<K, const LABELS: bool>(text: &str) -> Result<Result<K, Box<Undecodable>>, serde_json::Error>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let Text { metadata, spec, status } = serde_json::from_str(text)?;
    let Metadata { finalizers, labels, .. } = metadata;
    let labels = labels.filter(|_| LABELS);
    let kept = [finalizers, labels, spec, status].into_iter().flatten().map(|text| cost(text.get())).sum::<usize>();
    let mut metadata = metadata.without_lists();
    let error = if text.len() > LARGEST {
        Some(format!(
            "it has {} KiB, and the operator reads at most {} KiB; shorten its labels, annotations, ownerReferences or status",
            text.len() >> 10,
            LARGEST >> 10
        ))
    } else if kept > MOST_KEPT {
        Some(format!(
            "its spec, status and finalizers would take {} KiB of memory, and the limit is {} KiB; shorten the lists in its spec",
            kept >> 10,
            MOST_KEPT >> 10
        ))
    } else {
        None
    };
    if let Some(error) = error {
        return Ok(Err(Undecodable { error, metadata }.into()));
    }
    metadata.finalizers = finalizers.map(|list| serde_json::from_str(list.get())).transpose()?;
    metadata.labels = labels.map(|map| serde_json::from_str(map.get())).transpose()?;
    let kept = Kept { api_version: K::api_version(&()), kind: K::kind(&()), metadata: &metadata, spec, status };
    let object = serde_json::from_str(&serde_json::to_string(&kept)?);
    Ok(object.map_err(|error| {
        let error = error.to_string();
        // The position belongs to a text that the user does not see.
        let error = error.rsplit_once(" at line ").map_or(error.as_str(), |(error, _)| error);
        Box::new(Undecodable { error: truncate(error, ERROR_LENGTH).to_owned(), metadata })
    }))
}

impl Metadata<'_> {
    fn without_lists(self) -> ObjectMeta {
        let reconcile_at = self.annotations.and_then(|annotations| annotations.reconcile_at);
        let annotation =
            |value: Cow<'_, str>| [(RECONCILE_AT.to_owned(), truncate(&value, RECONCILE_AT_LENGTH).to_owned())].into();
        ObjectMeta {
            name: self.name,
            namespace: self.namespace,
            uid: self.uid,
            resource_version: self.resource_version,
            generation: self.generation,
            creation_timestamp: self.creation_timestamp,
            deletion_timestamp: self.deletion_timestamp,
            deletion_grace_period_seconds: self.deletion_grace_period_seconds,
            annotations: reconcile_at.map(annotation),
            ..ObjectMeta::default()
        }
    }
}

/// The approximate memory of a decoded JSON text, in bytes.
fn cost(text: &str) -> usize {
    text.len() + EACH_VALUE * text.bytes().filter(|byte| *byte == b',').count()
}

/// Whether a reconcile of the object takes so much memory that only a few may run at once.
pub(in crate::controller) fn is_large(object: &impl Serialize) -> bool {
    serde_json::to_writer(Room(LARGE), object).is_err()
}

/// A writer with a limit of bytes.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::api::core::v1::Namespace;
    use kube::core::{ObjectList, PartialObjectMeta, WatchEvent};
    use serde_json::{Value, json};

    use super::*;
    use crate::api::VpcPeering;

    fn object() -> Value {
        json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeering",
            "metadata": {
                "name": "a",
                "namespace": "b",
                "uid": "u",
                "resourceVersion": "7",
                "generation": 3,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "finalizers": ["vpcpeering.dev/finalizer", "example.com/other"],
                "annotations": {"vpcpeering.dev/reconcile-at": "now", "example.com/notes": "many"},
                "labels": {"team": "blue"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "v"}],
                "managedFields": [{"manager": "kubectl"}],
            },
            "spec": {"requester": {"vpcId": "vpc-1", "region": "r"}, "accepter": {"vpcId": "vpc-2"}},
            "status": {"vpcPeeringConnectionId": "pcx-1"},
        })
    }

    fn read(object: &Value) -> Result<VpcPeering, Box<Undecodable>> {
        serde_json::from_str::<Wire<VpcPeering>>(&object.to_string()).unwrap().0
    }

    #[test]
    fn only_the_used_parts_are_kept() {
        let kept = read(&object()).unwrap();
        let mut expected: VpcPeering = serde_json::from_value(object()).unwrap();
        expected.metadata.labels = None;
        expected.metadata.owner_references = None;
        expected.metadata.managed_fields = None;
        expected.metadata.annotations = Some([(RECONCILE_AT.to_owned(), "now".to_owned())].into());
        assert_eq!(kept, expected);
    }

    #[test]
    fn the_labels_of_a_namespace_are_kept() {
        let namespace = json!({
            "metadata": {"name": "a", "labels": {"team": "blue"}, "annotations": {"x": "y"}},
            "spec": {"finalizers": ["kubernetes"]},
        });
        let wire = serde_json::from_str::<Wire<PartialObjectMeta<Namespace>, true>>(&namespace.to_string());
        let metadata = wire.unwrap().0.unwrap().metadata;
        assert_eq!(metadata.labels, Some([("team".to_owned(), "blue".to_owned())].into()));
        assert_eq!(metadata.annotations, None);
    }

    #[test]
    fn an_object_that_is_too_large_is_named_and_its_metadata_kept() {
        let many: serde_json::Map<_, _> = (0..100_000).map(|number| (format!("k{number}"), json!(""))).collect();
        let mut labels = object();
        labels["metadata"]["labels"] = many.into();
        let mut status = object();
        status["status"]["managedTagKeys"] = json!(vec![""; 40_000]);
        let mut finalizers = object();
        finalizers["metadata"]["finalizers"] = json!(vec!["example.com/x"; 20_000]);
        for (object, word) in [(labels, "at most 1024 KiB"), (status, "the limit is 640 KiB"), (finalizers, "640 KiB")]
        {
            let undecodable = read(&object).unwrap_err();
            assert!(undecodable.error.contains(word), "{undecodable}");
            let metadata = undecodable.metadata;
            assert_eq!((metadata.name.as_deref(), metadata.resource_version.as_deref()), (Some("a"), Some("7")));
            assert_eq!((metadata.labels, metadata.finalizers), (None, None));
        }
    }

    #[test]
    fn long_texts_of_others_are_truncate() {
        let mut asked = object();
        asked["metadata"]["annotations"][RECONCILE_AT] = json!("é".repeat(200));
        let annotations = read(&asked).unwrap().metadata.annotations.unwrap();
        assert_eq!(annotations[RECONCILE_AT], "é".repeat(RECONCILE_AT_LENGTH / 2));
        let mut odd = object();
        odd["spec"]["acceptance"] = json!("x".repeat(10_000));
        let error = read(&odd).unwrap_err().error;
        assert!(error.starts_with("unknown variant `xxx") && error.len() <= ERROR_LENGTH, "{error}");
        odd["spec"]["acceptance"] = json!("Perhaps");
        let error = read(&odd).unwrap_err().error;
        assert!(error.ends_with("expected `Auto` or `Manual`"), "{error}");
    }

    #[test]
    fn a_large_object_is_recognized_by_its_text() {
        let mut object = read(&object()).unwrap();
        assert!(!is_large(&object));
        object.metadata.name = Some("n".repeat(LARGE));
        assert!(is_large(&object));
    }

    #[test]
    fn an_undecodable_object_blocks_no_other() {
        let mut odd = object();
        odd["spec"] = json!(7);
        let list = json!({"kind": "VpcPeeringList", "metadata": {"resourceVersion": "8"}, "items": [odd, object()]});
        let list: ObjectList<Wire<VpcPeering>> = serde_json::from_str(&list.to_string()).unwrap();
        assert_eq!(list.items.iter().map(|item| item.0.is_ok()).collect::<Vec<_>>(), [false, true]);
        // The API server sends the type first.
        let event = format!(r#"{{"type":"ADDED","object":{}}}"#, object());
        let event: WatchEvent<Wire<VpcPeering>> = serde_json::from_str(&event).unwrap();
        assert!(matches!(event, WatchEvent::Added(wire) if wire.0.is_ok()));
    }
}
