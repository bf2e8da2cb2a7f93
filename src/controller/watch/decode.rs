//! Decodes objects without the parts that the operator does not use. Labels, annotations, owners and `managedFields`
//! may be a megabyte of JSON per object, and take several times as much memory once they are decoded. The decoder skips
//! them.

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

/// Maximum bytes of JSON of an object that is decoded. Each answer to a write holds a few copies of the text. The limit
/// of etcd is 1.5 MiB.
const MAX_JSON_BYTES: usize = 1 << 20;

/// Maximum bytes of memory of a decoded object, by [`cost`]: some 2,500 routes, or a hundred accepted connections with
/// their tags and 2,000 routes. 200 objects of this size fit into the chart's memory limit.
const MAX_DECODED_BYTES: usize = 640 << 10;

/// Bytes of JSON above which an object is large: its reconcile also holds a new status and the text of a write.
const LARGE_BYTES: usize = 64 << 10;

/// Bytes of memory of a value beside its text: a `String` in a list.
const BYTES_PER_VALUE: usize = 24;

/// Maximum bytes of the annotation `vpcpeering.dev/reconcile-at`. The rest is neither kept nor compared.
const MAX_RECONCILE_AT_BYTES: usize = 256;

/// Maximum bytes of an error text, because it may quote the object.
const MAX_ERROR_BYTES: usize = 512;

/// An object, or the reason why it cannot be decoded. With `LABELS`, its labels are kept.
#[derive(Clone, Debug)]
pub(in crate::controller) struct Wire<K, const LABELS: bool = false>(pub Result<K, Box<Undecodable>>);

/// The reason why an object cannot be decoded.
#[derive(Clone, Debug, Error)]
#[error("this version of the operator cannot decode the resource: {error}; {remedy}")]
pub(in crate::controller) struct Undecodable {
    pub error: String,
    /// The next step for the user.
    pub remedy: &'static str,
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
        decode::<K, LABELS>(text.get()).map(Self).map_err(D::Error::custom)
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

/// Decodes the text of an object. Fails only if it is no Kubernetes object.
fn decode<K, const LABELS: bool>(text: &str) -> Result<Result<K, Box<Undecodable>>, serde_json::Error>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let Text { metadata, spec, status } = serde_json::from_str(text)?;
    let Metadata { finalizers, labels, .. } = metadata;
    let labels = labels.filter(|_| LABELS);
    let kept = [finalizers, labels, spec, status].into_iter().flatten().map(|text| cost(text.get())).sum::<usize>();
    let mut metadata = metadata.without_lists();
    let too_large = if text.len() > MAX_JSON_BYTES {
        let (size, limit) = (text.len() >> 10, MAX_JSON_BYTES >> 10);
        let error = format!("its JSON has {size} KiB, and the operator decodes at most {limit} KiB");
        Some((error, "shorten its labels, annotations, ownerReferences or status"))
    } else if kept > MAX_DECODED_BYTES {
        let (size, limit) = (kept >> 10, MAX_DECODED_BYTES >> 10);
        let error = format!("its spec, status and finalizers need {size} KiB of memory, and the limit is {limit} KiB");
        Some((error, "shorten the lists in its spec"))
    } else {
        None
    };
    if let Some((error, remedy)) = too_large {
        return Ok(Err(Undecodable { error, remedy, metadata }.into()));
    }
    metadata.finalizers = finalizers.map(|list| serde_json::from_str(list.get())).transpose()?;
    metadata.labels = labels.map(|map| serde_json::from_str(map.get())).transpose()?;
    let kept = Kept { api_version: K::api_version(&()), kind: K::kind(&()), metadata: &metadata, spec, status };
    let object = serde_json::from_str(&serde_json::to_string(&kept)?);
    Ok(object.map_err(|error| {
        let error = error.to_string();
        // The position belongs to a text that the user does not see.
        let error = error.rsplit_once(" at line ").map_or(error.as_str(), |(error, _)| error);
        let error = truncate(error, MAX_ERROR_BYTES).to_owned();
        Box::new(Undecodable { error, remedy: "correct the resource, or upgrade the operator", metadata })
    }))
}

impl Metadata<'_> {
    fn without_lists(self) -> ObjectMeta {
        let reconcile_at = self.annotations.and_then(|annotations| annotations.reconcile_at);
        let annotation = |value: Cow<'_, str>| {
            [(RECONCILE_AT.to_owned(), truncate(&value, MAX_RECONCILE_AT_BYTES).to_owned())].into()
        };
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
    text.len() + BYTES_PER_VALUE * text.bytes().filter(|byte| *byte == b',').count()
}

/// Whether a reconcile of the object takes so much memory that only a few may run at once.
pub(in crate::controller) fn is_large(object: &impl Serialize) -> bool {
    serde_json::to_writer(ByteLimit(LARGE_BYTES), object).is_err()
}

/// A writer that fails after this number of bytes.
struct ByteLimit(usize);

impl Write for ByteLimit {
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

    fn decoded(object: &Value) -> Result<VpcPeering, Box<Undecodable>> {
        serde_json::from_str::<Wire<VpcPeering>>(&object.to_string()).unwrap().0
    }

    #[test]
    fn only_the_used_parts_are_kept() {
        let kept = decoded(&object()).unwrap();
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
            let undecodable = decoded(&object).unwrap_err();
            assert!(undecodable.error.contains(word), "{undecodable}");
            let metadata = undecodable.metadata;
            assert_eq!((metadata.name.as_deref(), metadata.resource_version.as_deref()), (Some("a"), Some("7")));
            assert_eq!((metadata.labels, metadata.finalizers), (None, None));
        }
    }

    #[test]
    fn long_annotations_and_errors_are_truncated() {
        let mut annotated = object();
        annotated["metadata"]["annotations"][RECONCILE_AT] = json!("é".repeat(200));
        let annotations = decoded(&annotated).unwrap().metadata.annotations.unwrap();
        assert_eq!(annotations[RECONCILE_AT], "é".repeat(MAX_RECONCILE_AT_BYTES / 2));
        let mut odd = object();
        odd["spec"]["acceptance"] = json!("x".repeat(10_000));
        let error = decoded(&odd).unwrap_err().error;
        assert!(error.starts_with("unknown variant `xxx") && error.len() <= MAX_ERROR_BYTES, "{error}");
        odd["spec"]["acceptance"] = json!("Perhaps");
        let error = decoded(&odd).unwrap_err().error;
        assert!(error.ends_with("expected `Auto` or `Manual`"), "{error}");
    }

    #[test]
    fn a_large_object_is_recognized_by_its_text() {
        let mut object = decoded(&object()).unwrap();
        assert!(!is_large(&object));
        object.metadata.name = Some("n".repeat(LARGE_BYTES));
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
