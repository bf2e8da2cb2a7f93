//! `import` with input that it cannot use.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ec2_simulator::iam::{Attachment, Kind};
use serde_json::json;

use super::{IDENTITY, Migration, files, fixture};
use crate::cli::run;
use crate::world::{OTHER_ACCOUNT, REGION, World};

/// Files that cannot be imported: the flag, the file, and two parts of the message. This function is long because it is
/// one table.
fn bad_files(folder: &Path) -> Result<Vec<(&'static str, String, &'static str, &'static str)>> {
    let write = |name: &str, text: &str| -> Result<String> {
        let file = folder.join(name);
        std::fs::write(&file, text).context("cannot write")?;
        Ok(file.to_string_lossy().into_owned())
    };
    let state = std::fs::read_to_string(fixture("terraform.json"))?;
    let legacy = "apiVersion: vpcpeering.aws.crossplane.io/v1alpha1\nkind: VPCPeeringConnection\nmetadata: {name: a}\n";
    let wrong = std::fs::read_to_string(fixture("ack.yaml"))?.replace("vpc-0f9e8d7c6b5a43210", "vpc-1");
    Ok(vec![
        (
            "--terraform",
            write("cut.json", &state[..300])?,
            "cut.json is not valid JSON; pass the complete output",
            "line",
        ),
        ("--terraform", "absent.json".to_owned(), "cannot read absent.json; check its path", "No such file"),
        (
            "--terraform",
            write("raw.json", r#"{"version": 4, "terraform_version": "1.9.0", "resources": []}"#)?,
            "raw.json: this is a state file (version 4); pass the output of `terraform show -json`",
            "",
        ),
        (
            "--terraform",
            write("next.json", r#"{"format_version": "2.0", "values": {"root_module": {}}}"#)?,
            "next.json: format_version is \"2.0\", but only version 1 is supported",
            "--region",
        ),
        (
            "--terraform",
            write("empty.json", r#"{"format_version": "1.0"}"#)?,
            "empty.json: values.root_module is missing",
            "run",
        ),
        (
            "--terraform",
            write("type.json", &state.replace(r#""aws_vpc_peering_connection","#, r#""awscc_ec2_vpc_peering","#))?,
            "aws_vpc_peering_connection.archive: the resource type awscc_ec2_vpc_peering is not supported",
            "--region and --vpc",
        ),
        (
            "--terraform",
            write("id.json", &state.replace("\"pcx-0c3d4e5f678901234\"", "\"pcx-1\""))?,
            "id.json: aws_vpc_peering_connection.archive: id: must be an ID such as pcx-0a1b2c3d4e5f67890",
            "\"pcx-1\"",
        ),
        ("", write("broken.yaml", "kind: [\n")?, "broken.yaml is not valid YAML; correct it", "line"),
        (
            "",
            write("legacy.yaml", legacy)?,
            "VPCPeeringConnection \"a\": the type vpcpeering.aws.crossplane.io/v1alpha1 is not",
            "--region",
        ),
        (
            "",
            write("none.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")?,
            "ConfigMap \"a\": the type v1 is not",
            "--region",
        ),
        (
            "",
            write("wrong.yaml", &wrong)?,
            "VPCPeeringConnection network/orders-to-payments: ",
            "must be an ID such as vpc-",
        ),
    ])
}

/// One sentence, exit code 1, and no file.
pub async fn bad_input_is_explained_in_one_sentence(world: World) -> Result<()> {
    let migration = Migration::start(world).await?;
    let folder = migration.world.shared.control_plane.folder().join("bad-input");
    std::fs::create_dir_all(&folder)?;
    let output = folder.join("output");
    let path = output.to_string_lossy().into_owned();
    let refuse = async |arguments: &[&str], messages: [&str; 2]| -> Result<()> {
        let refused = migration.import(&[arguments, &["--directory", &path]].concat()).await?;
        let is_explained = messages.iter().all(|message| refused.stderr.contains(message));
        ensure!(refused.code == 1 && is_explained, "{arguments:?}: {messages:?}: {refused:?}");
        ensure!(refused.stdout.is_empty() && refused.stderr.lines().count() == 1, "{arguments:?}: {refused:?}");
        ensure!(files(&output)?.is_empty(), "{arguments:?} wrote files");
        Ok(())
    };
    for (flag, file, message, remedy) in bad_files(&folder)? {
        let arguments = [flag, &file].into_iter().filter(|argument| !argument.is_empty()).collect::<Vec<_>>();
        refuse(&arguments, [message, remedy]).await?;
    }
    refuse(&[], ["there is nothing to import from; set --region", ""]).await?;
    refuse(&["--region", REGION, "--vpc", "orders"], ["--vpc: \"orders\" is not the ID of a VPC", ""]).await?;
    refuse(&["--region", "frankfurt"], ["--region: \"frankfurt\" is not a region such as eu-central-1", ""]).await?;
    refuse(&["--region", REGION, "--tag", "team"], ["--tag: \"team\" is not KEY=VALUE", ""]).await?;
    refuse(&["--ack"], ["--ack: the cluster has no API group ec2.services.k8s.aws", "--context"]).await?;
    refuse(&["--crossplane"], ["--crossplane: the cluster has no API group ec2.aws.upbound.io", "--context"]).await?;
    refuse(&["--identity", "absent"], ["there is no AwsIdentity absent", "--identity"]).await?;
    in_the_cluster(&migration).await?;
    in_aws(&migration, refuse).await?;
    ensure!(migration.changes().await?.is_empty());
    // The denied calls of this test are expected.
    migration.world.simulator().clear_journal().await?;
    migration.stop().await
}

/// An unreachable API server, and a missing right.
async fn in_the_cluster(migration: &Migration) -> Result<()> {
    let control_plane = &migration.world.shared.control_plane;
    migration.create("ack-crds.yaml", "ack.yaml").await?;
    let closed = control_plane.open_kubeconfig("closed", "https://127.0.0.1:1")?.to_string_lossy().into_owned();
    let unreachable = run(&migration.operator, &["import", "--ack", "--kubeconfig", &closed]).await?;
    ensure!(unreachable.code == 1 && unreachable.stdout.is_empty(), "{unreachable:?}");
    let expected = "--ack: cannot look for the API group ec2.services.k8s.aws; check --kubeconfig and --context";
    ensure!(unreachable.stderr.contains(expected) && unreachable.stderr.lines().count() == 1, "{unreachable:?}");
    let weak = run(&migration.operator, &["import", "--ack", "--as", "system:serviceaccount:network:default"]).await?;
    let expected = "--ack: cannot list vpcs.ec2.services.k8s.aws; grant the verb list";
    ensure!(weak.code == 1 && weak.stdout.is_empty() && weak.stderr.contains(expected), "{weak:?}");
    Ok(())
}

/// An unreachable account, and a missing permission.
async fn in_aws(migration: &Migration, refuse: impl AsyncFn(&[&str], [&str; 2]) -> Result<()>) -> Result<()> {
    let world = &migration.world;
    let closed = migration.operator.clone().with("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let unreachable = run(&closed, &["import", "--region", REGION]).await?;
    ensure!(unreachable.code == 1 && unreachable.stdout.is_empty(), "{unreachable:?}");
    let expected = "cannot read the connections in eu-central-1; check the region and the network";
    ensure!(unreachable.stderr.contains(expected) && unreachable.stderr.lines().count() == 1, "{unreachable:?}");

    let role = format!("arn:aws:iam::{OTHER_ACCOUNT}:role/peering/{}", world.namespace);
    let statement = json!({"Sid": "D", "Effect": "Deny", "Action": "ec2:DescribeRouteTables", "Resource": "*"});
    let document = json!({"Version": "2012-10-17", "Statement": [statement]});
    let (name, kind) = ("deny".to_owned(), Kind::Identity);
    world.simulator().attach_policy(&Attachment { principal: role, name, kind, document }).await?;
    let message =
        "cannot read the connections in us-west-2 of the AwsIdentity payments; check the credentials, and allow";
    refuse(&["--identity", IDENTITY], [message, "UnauthorizedOperation"]).await
}
