//! The objects to plan: those of manifests, and those of the cluster.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::core::object::HasSpec;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::validation::validate;
use crate::api::{VpcPeering, VpcPeeringAccepter};
use crate::cli::manifests::{self, Document};
use crate::controller::{Cluster, Kind};

/// The objects to plan, and the cluster after the manifests are applied.
pub(super) struct Selection {
    pub cluster: Cluster,
    pub peerings: Vec<VpcPeering>,
    pub accepters: Vec<VpcPeeringAccepter>,
    /// Checks that could not be made.
    pub notes: Vec<String>,
}

impl Selection {
    /// Reads the cluster and the manifests. Without targets, everything in the namespace is selected.
    pub(super) async fn read(client: &Client, targets: &[PathBuf], namespace: Option<&str>) -> anyhow::Result<Self> {
        let (names, files): (Vec<_>, Vec<_>) = targets.iter().cloned().partition(|target| is_name(target));
        let documents = manifests::documents(&files)?;
        let mut selection =
            Self { cluster: cluster(client).await?, peerings: Vec::new(), accepters: Vec::new(), notes: Vec::new() };
        for name in &names {
            selection.add_named(&name.to_string_lossy())?;
        }
        for document in &documents {
            let note = selection.add_manifest(client, document).await?;
            selection.notes.extend(note);
        }
        selection.add_users_of_identities(&documents);
        if targets.is_empty() {
            selection.peerings = of_namespace(&selection.cluster.peerings, namespace);
            selection.accepters = of_namespace(&selection.cluster.accepters, namespace);
        }
        Ok(selection)
    }

    /// Adds the resources of the cluster that use an `AwsIdentity` of the manifests.
    fn add_users_of_identities(&mut self, documents: &[Document]) {
        let identities = documents.iter().filter(|document| document.kind() == Some("AwsIdentity"));
        let names: BTreeSet<&str> = identities.filter_map(|document| document.name().ok()).collect();
        add_users(&names, &self.cluster.peerings, &mut self.peerings);
        add_users(&names, &self.cluster.accepters, &mut self.accepters);
    }

    fn add_named(&mut self, name: &str) -> anyhow::Result<()> {
        let before = self.peerings.len() + self.accepters.len();
        self.peerings.extend(self.cluster.peerings.iter().filter(|object| key(*object) == name).cloned());
        self.accepters.extend(self.cluster.accepters.iter().filter(|object| key(*object) == name).cloned());
        if self.peerings.len() + self.accepters.len() == before {
            bail!(
                "{name} is neither a file nor a VpcPeering or VpcPeeringAccepter of the cluster; correct the path or \
                 the name"
            );
        }
        Ok(())
    }

    /// Adds the object of a manifest, and returns the reason why the API server could not validate it.
    async fn add_manifest(&mut self, client: &Client, document: &Document) -> anyhow::Result<Option<String>> {
        match document.kind() {
            Some("VpcPeering") => {
                let (object, note) = applied(client, document, &mut self.cluster.peerings).await?;
                self.peerings.push(object);
                Ok(note)
            }
            Some("VpcPeeringAccepter") => {
                let (object, note) = applied(client, document, &mut self.cluster.accepters).await?;
                self.accepters.push(object);
                Ok(note)
            }
            Some("AwsIdentity") => {
                let (name, identities) = (document.name()?, &mut self.cluster.identities);
                let known = identities.iter().find(|other| other.name_any() == name);
                let note = validate(client, document, None, known).await?;
                identities.retain(|other| other.name_any() != name);
                identities.push(document.decode()?);
                Ok(note)
            }
            _ => bail!(
                "{document}: plan knows the kinds VpcPeering, VpcPeeringAccepter and AwsIdentity of vpcpeering.dev \
                 only; remove this object from the file"
            ),
        }
    }
}

async fn cluster(client: &Client) -> anyhow::Result<Cluster> {
    let namespaces = Api::<Namespace>::all(client.clone()).list_metadata(&ListParams::default()).await;
    Ok(Cluster {
        namespaces: listed::<_>("namespaces", namespaces)?.items,
        identities: list(client).await?,
        peerings: list(client).await?,
        accepters: list(client).await?,
    })
}

async fn list<K>(client: &Client) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let answer = Api::<K>::all(client.clone()).list(&ListParams::default()).await;
    Ok(listed(&K::plural(&()), answer)?.items)
}

fn listed<T>(what: &str, answer: kube::Result<T>) -> anyhow::Result<T> {
    let remedy = match &answer {
        Err(kube::Error::Api(status)) if status.code == 403 => "grant the verb list on them",
        Err(kube::Error::Api(status)) if status.code == 401 => "check the credentials in the kubeconfig file",
        Err(kube::Error::Api(status)) if status.code == 404 => {
            "install the CRDs, which `vpc-peering-operator crd` prints"
        }
        _ => "check --kubeconfig and --context, and that the API server is reachable",
    };
    answer.with_context(|| format!("cannot list the {what}; {remedy}"))
}

/// The object that the API server has after the manifest is applied. It replaces the known one.
async fn applied<K>(client: &Client, document: &Document, known: &mut Vec<K>) -> anyhow::Result<(K, Option<String>)>
where
    K: Kind + HasSpec<Spec: Clone + PartialEq>,
{
    let namespace = document.object["metadata"]["namespace"].as_str().unwrap_or(client.default_namespace());
    let name = format!("{namespace}/{}", document.name()?);
    let current = known.iter().find(|other| key(*other) == name);
    // The API server names the field of each error. It comes before the decoding, which does not.
    let note = validate(client, document, Some(namespace), current).await?;
    let mut manifest: K = document.decode()?;
    manifest.meta_mut().namespace = Some(namespace.to_owned());
    let object = update(current, manifest);
    known.retain(|other| key(other) != name);
    known.push(object.clone());
    Ok((object, note))
}

fn update<K>(known: Option<&K>, manifest: K) -> K
where
    K: Kind + HasSpec<Spec: Clone + PartialEq>,
{
    let Some(known) = known else {
        let mut new = manifest;
        *new.status_mut() = None;
        // The API server chooses the real one, which is in the ownership tags.
        let uid = format!("new:{}", key(&new));
        let meta = new.meta_mut();
        meta.uid = Some(uid);
        meta.generation = Some(1);
        meta.creation_timestamp = Some(Time(Timestamp::now()));
        meta.finalizers = None;
        meta.deletion_timestamp = None;
        return new;
    };
    let mut updated = known.clone();
    updated.annotations_mut().extend(manifest.annotations().clone());
    if updated.spec() != manifest.spec() {
        *updated.spec_mut() = manifest.spec().clone();
        let meta = updated.meta_mut();
        meta.generation = meta.generation.map(|generation| generation + 1);
    }
    updated
}

fn add_users<K: Kind>(identities: &BTreeSet<&str>, known: &[K], selected: &mut Vec<K>) {
    for object in known {
        let is_user = object.identities().into_iter().any(|name| identities.contains(name));
        if is_user && !selected.iter().any(|other| key(other) == key(object)) {
            selected.push(object.clone());
        }
    }
}

fn of_namespace<K: Kind>(objects: &[K], namespace: Option<&str>) -> Vec<K> {
    let is_selected = |object: &&K| namespace.is_none_or(|name| object.namespace().as_deref() == Some(name));
    objects.iter().filter(is_selected).cloned().collect()
}

/// Whether a target is the name of a resource, and not a file.
fn is_name(target: &Path) -> bool {
    let text = target.to_string_lossy();
    let is_word = |part: &str| !part.is_empty() && part != "." && part != "..";
    !target.exists() && text.split('/').count() == 2 && text.split('/').all(is_word) && target.extension().is_none()
}

fn key(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
