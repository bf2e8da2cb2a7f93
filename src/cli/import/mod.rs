//! `vpc-peering-operator import`: writes manifests that adopt existing connections.

mod ack;
mod aws;
mod crossplane;
mod fields;
mod kubernetes;
mod model;
mod names;
mod object_name;
mod removed;
mod render;
mod routes;
mod tags;
mod terraform;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::fields::Form;
use self::model::{Inventory, Release, Selection};
use self::render::{Manifest, Options};
use super::kubernetes::KubeArgs;
use super::output::{self, Progress};
use super::{Outcome, accounts, manifests};
use crate::api::ManagementPolicy;
use crate::aws::{AwsError, Class};

/// Writes manifests that adopt existing peering connections, with their options, routes and tags.
///
/// The connections come from AWS (--region or --identity), from Terraform (--terraform), or from resources of ACK and
/// Crossplane, in FILE or in the cluster. Beside another source, AWS completes the connections of that source.
/// Connections that the operator already manages, or that have ended, are left out. Standard error lists everything
/// that the manifests leave out, and the steps that make the other tool let go of the connections without deleting
/// them.
///
/// Apply the manifests of --observe first: they write nothing to AWS. Then apply those of --full, which add ownership
/// tags. Guide: docs/migrate.md.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Manifests of ACK or Crossplane; - reads standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The output of `terraform show -json`; - reads standard input. May be repeated.
    #[arg(long, value_name = "FILE")]
    terraform: Vec<PathBuf>,

    /// Read the VPCPeeringConnections and RouteTables of ACK in the cluster.
    #[arg(long)]
    ack: bool,

    /// Read the resources of Crossplane's AWS provider in the cluster.
    #[arg(long)]
    crossplane: bool,

    /// A region of AWS to read. May be repeated. Defaults to the defaultRegion of the identities.
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<String>,

    /// An AwsIdentity whose account is read. May be repeated. Defaults to the default credentials of the AWS SDK.
    #[arg(long = "identity", value_name = "NAME")]
    identities: Vec<String>,

    /// Read the account of the default credentials of the AWS SDK beside those of --identity.
    #[arg(long, requires = "identities")]
    own_credentials: bool,

    /// The AwsIdentity of an account in the manifests. May be repeated. The identities of --identity are known.
    #[arg(long = "account-identity", value_name = "ACCOUNT=NAME")]
    account_identities: Vec<String>,

    /// Import only the connections of this VPC. May be repeated.
    #[arg(long = "vpc", value_name = "ID")]
    vpcs: Vec<String>,

    /// Import only the connections with this tag. May be repeated; a connection must have all of them.
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    tags: Vec<String>,

    /// Write manifests with managementPolicy Observe, which write nothing to AWS. This is the default.
    #[arg(long)]
    observe: bool,

    /// Write manifests with managementPolicy Full.
    #[arg(long, conflicts_with = "observe")]
    full: bool,

    /// The directory to write to: one file per resource, removed.tf for Terraform, and the script release.sh for ACK
    /// and Crossplane. Defaults to standard output.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,

    /// The format of the manifests.
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    output: ManifestFormat,

    #[command(flatten)]
    kube: KubeArgs,
}

/// The format of manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ManifestFormat {
    /// One YAML document per resource
    Yaml,
    /// JSON: a List on standard output, or one file per resource
    Json,
}

impl Import {
    pub(super) fn execute(self) -> anyhow::Result<Outcome> {
        let selection = self.selection()?;
        let mut options = Options {
            policy: if self.full { ManagementPolicy::Full } else { ManagementPolicy::Observe },
            namespace: self.kube.namespace.clone(),
            identities: self.account_identities()?,
        };
        let mut inventory = Inventory::default();
        self.read_files(&mut inventory)?;
        super::block_on(self.look(&mut inventory, &mut options))??;
        // The names do not depend on the selection, so that every run names a connection alike.
        let names = names::names(inventory.live());
        inventory.select(&selection);
        let manifests = render::render(&mut inventory, &names, &options)?;
        if manifests.is_empty() {
            inventory.note("there is no connection to import");
        }
        self.write(&manifests, &inventory)?;
        Ok(Outcome::Success)
    }

    fn selection(&self) -> anyhow::Result<Selection> {
        let tag = |tag: &String| {
            let (key, value) = tag.split_once('=').with_context(|| format!("--tag: {tag:?} is not KEY=VALUE"))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        let tags = self.tags.iter().map(tag).collect::<anyhow::Result<_>>()?;
        for vpc in &self.vpcs {
            ensure!(Form::Id("vpc").accepts(vpc), "--vpc: {vpc:?} is not the ID of a VPC");
        }
        for region in &self.regions {
            ensure!(Form::Region.accepts(region), "--region: {region:?} is not a region such as eu-central-1");
        }
        Ok(Selection { vpcs: self.vpcs.clone(), tags })
    }

    fn account_identities(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let pair = |text: &String| {
            let pair =
                text.split_once('=').filter(|(account, name)| Form::Account.accepts(account) && !name.is_empty());
            let (account, name) = pair.with_context(|| format!("--account-identity: {text:?} is not ACCOUNT=NAME"))?;
            Ok((account.to_owned(), name.to_owned()))
        };
        self.account_identities.iter().map(pair).collect()
    }

    fn reads_aws(&self) -> bool {
        !self.regions.is_empty() || !self.identities.is_empty()
    }

    /// Whether AWS is the only source.
    fn is_aws_alone(&self) -> bool {
        self.files.is_empty() && self.terraform.is_empty() && !self.ack && !self.crossplane
    }

    fn read_files(&self, inventory: &mut Inventory) -> anyhow::Result<()> {
        if self.is_aws_alone() && !self.reads_aws() {
            bail!(
                "there is nothing to import from; set --region, --identity, --terraform, --ack, --crossplane or FILE"
            );
        }
        for file in &self.terraform {
            let name = file.display();
            let state = serde_json::from_str(&manifests::text(file)?).with_context(|| {
                format!("{name} is not valid JSON; pass the complete output of `terraform show -json`")
            })?;
            terraform::read(&state, inventory).with_context(|| name.to_string())?;
        }
        for file in &self.files {
            let objects = manifests::read(std::slice::from_ref(file))?;
            kubernetes::check_kinds(&objects).with_context(|| file.display().to_string())?;
            ack::read(&objects, inventory).with_context(|| file.display().to_string())?;
            crossplane::read(&objects, inventory).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    /// Reads the cluster and AWS.
    async fn look(&self, inventory: &mut Inventory, options: &mut Options) -> anyhow::Result<()> {
        let progress = Progress::start();
        if self.ack || self.crossplane {
            progress.show("reading the cluster…");
            let client = self.kube.connect().await?;
            let not_installed = |flag: &str, group: &str| {
                format!("{flag}: the cluster has no API group {group}; check --context, or pass the objects as a FILE")
            };
            if self.ack {
                let objects = kubernetes::list(&client, ack::GROUP, &ack::KINDS).await.context("--ack")?;
                ack::read(&objects.with_context(|| not_installed("--ack", ack::GROUP))?, inventory)?;
            }
            if self.crossplane {
                let mut objects = None;
                for group in crossplane::GROUPS {
                    let listed = kubernetes::list(&client, group, &crossplane::KINDS).await.context("--crossplane")?;
                    objects = objects.into_iter().chain(listed).reduce(|all: Vec<_>, more| [all, more].concat());
                }
                let missing = || not_installed("--crossplane", crossplane::GROUPS[0]);
                crossplane::read(&objects.with_context(missing)?, inventory)?;
            }
        }
        if !self.reads_aws() {
            return Ok(());
        }
        let known: BTreeSet<_> = inventory.peerings.keys().cloned().collect();
        let own = (self.identities.is_empty() || self.own_credentials).then_some(None);
        for name in own.into_iter().chain(self.identities.iter().map(|name| Some(name.as_str()))) {
            let access = accounts::open(&self.kube, name).await?;
            let spec = access.identity.as_ref().map(|identity| &identity.spec);
            if let (Some(name), Some(spec)) = (name, spec) {
                options.identities.entry(spec.account_id.clone()).or_insert_with(|| name.to_owned());
            }
            let default = spec.and_then(|spec| spec.default_region.clone());
            let regions = if self.regions.is_empty() { default.into_iter().collect() } else { self.regions.clone() };
            let of = name.map(|name| format!(" of the AwsIdentity {name}")).unwrap_or_default();
            ensure!(!regions.is_empty(), "the region{of} is not known; set --region, or spec.defaultRegion");
            for region in &regions {
                progress.show(&format!("reading {region}…"));
                let seen = aws::read(&access.account, region, inventory).await;
                seen.map_err(|error| explain(error, &format!("in {region}{of}")))?;
            }
        }
        // Beside another source, AWS completes the connections of that source.
        if !self.is_aws_alone() {
            inventory.peerings.retain(|id, _| known.contains(id));
        }
        Ok(())
    }

    /// All manifests, for standard output.
    fn document(&self, manifests: &[Manifest]) -> anyhow::Result<String> {
        Ok(match self.output {
            ManifestFormat::Yaml => {
                let documents = manifests.iter().map(|manifest| yaml(&manifest.object));
                documents.collect::<anyhow::Result<Vec<_>>>()?.join("---\n")
            }
            ManifestFormat::Json => {
                let items: Vec<_> = manifests.iter().map(|manifest| &manifest.object).collect();
                pretty_json(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?
            }
        })
    }

    /// The name and text of each file.
    fn manifest_files(&self, manifests: &[Manifest]) -> anyhow::Result<Vec<(String, String)>> {
        let file = |manifest: &Manifest| {
            Ok(match self.output {
                ManifestFormat::Yaml => (format!("{}.yaml", manifest.name), yaml(&manifest.object)?),
                ManifestFormat::Json => (format!("{}.json", manifest.name), pretty_json(&manifest.object)?),
            })
        };
        manifests.iter().map(file).collect()
    }

    /// Writes the manifests, and on standard error the notes as comments of HCL.
    fn write(&self, manifests: &[Manifest], inventory: &Inventory) -> anyhow::Result<()> {
        let taken: BTreeSet<_> = manifests.iter().flat_map(|manifest| manifest.parts.iter().cloned()).collect();
        let removed = removed::removed(inventory, &taken);
        let (mut commands, mut advice) = (BTreeSet::new(), BTreeSet::new());
        for (_, step) in inventory.releases.iter().filter(|(part, _)| taken.contains(part)) {
            match step {
                Release::Commands(lines) => commands.insert(lines),
                Release::Advice(sentence) => advice.insert(sentence),
            };
        }
        if let Some(directory) = &self.directory {
            write_files(directory, self.manifest_files(manifests)?, &removed, &commands)?;
            commands.clear();
        } else {
            output::print(&self.document(manifests)?)?;
            anstream::eprint!("{removed}");
        }
        for line in inventory.notes.iter().chain(advice) {
            anstream::eprintln!("# {line}");
        }
        for lines in commands {
            anstream::eprintln!("# {}", lines.join(" && "));
        }
        Ok(())
    }
}

/// An error of AWS with its remedy.
fn explain(error: AwsError, place: &str) -> anyhow::Error {
    let remedy = match error.class {
        Class::FixPermissions => {
            "check the credentials, and allow ec2:DescribeVpcPeeringConnections and ec2:DescribeRouteTables"
        }
        _ => "check the region and the network, and repeat the command",
    };
    anyhow::Error::new(error).context(format!("cannot read the connections {place}; {remedy}"))
}

fn yaml(object: &Value) -> anyhow::Result<String> {
    serde_saphyr::to_string(object).context("cannot write a manifest")
}

fn pretty_json(object: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(object)? + "\n")
}

/// Writes the files, and prints whether each has changed.
fn write_files(
    directory: &Path,
    mut files: Vec<(String, String)>,
    removed: &str,
    commands: &BTreeSet<&[String; 2]>,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("--directory: cannot create {}; choose another directory", directory.display()))?;
    if !removed.is_empty() {
        files.push(("removed.tf".into(), removed.to_owned()));
    }
    if !commands.is_empty() {
        let lines: String = commands.iter().flat_map(|lines| *lines).map(|line| format!("{line}\n")).collect();
        files.push(("release.sh".into(), format!("#!/bin/sh\nset -eu\n{lines}")));
    }
    for (name, text) in files {
        let file = directory.join(name);
        let is_same = std::fs::read_to_string(&file).is_ok_and(|old| old == text);
        if !is_same {
            std::fs::write(&file, text)
                .with_context(|| format!("--directory: cannot write {}; check its permissions", file.display()))?;
        }
        output::print(&format!("{} {}\n", file.display(), if is_same { "unchanged" } else { "written" }))?;
    }
    Ok(())
}
