//! The outputs, and the lines that need no AWS.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::api::VpcPeeringStatus;
use crate::cli::output::{Format, Verdict, render};
use crate::cli::snapshots;
use crate::peering::testing;

fn report() -> anyhow::Result<Report> {
    let flow = target::flow("10.1.0.5", "10.2.0.5:443", Protocol::Tcp)?;
    let lines = vec![
        Line::pass(Subject::Status, "pcx-1 is active"),
        Line::fail(Subject::Route, "rtb-1 of subnet-1 has\n no route|<", "create the route").at(Side::Requester),
        Line::skip(Subject::NetworkAcl, "acl-1 lets replies pass", "compare the ports").at(Side::Accepter),
    ];
    Ok(Report::new("team/orders".into(), Some("pcx-1".into()), Some(&flow), lines))
}

#[test]
fn every_output_is_a_snapshot() -> anyhow::Result<()> {
    snapshots::every_format(&report()?, "trace/snapshots/trace")?;
    let ok = Report::new("team/orders".into(), None, None, vec![Line::pass(Subject::Status, "pcx-1 is active")]);
    let rendered = anstream::adapter::strip_str(&render(&ok, Format::Text)?).to_string();
    let expected =
        "team/orders (no connection yet)\n\n✓ status: pcx-1 is active\n\n1 passed, 0 failed, 0 not checked\n";
    assert_eq!((rendered.as_str(), ok.ok), (expected, true));
    Ok(())
}

fn object(id: Option<&str>) -> VpcPeering {
    let mut object = VpcPeering::new("orders", testing::spec());
    object.metadata.generation = Some(1);
    let ready = Condition {
        type_: "Ready".into(),
        status: "True".into(),
        reason: "Active".into(),
        message: "pcx-1 is active".into(),
        last_transition_time: crate::peering::conditions::to_the_second(Timestamp::UNIX_EPOCH),
        observed_generation: None,
    };
    object.status = Some(VpcPeeringStatus {
        vpc_peering_connection_id: id.map(Into::into),
        observed_generation: Some(1),
        conditions: vec![ready],
        ..VpcPeeringStatus::default()
    });
    object
}

#[test]
fn the_first_line_is_the_state_of_the_resource() {
    let judged = |change: fn(&mut VpcPeering)| {
        let mut object = object(Some("pcx-1"));
        change(&mut object);
        let line = resource::of_resource(&object);
        (line.verdict, line.message)
    };
    let fail = |message: &str| (Verdict::Fail, message.to_owned());
    assert_eq!(judged(|_| {}), (Verdict::Pass, "Ready is True: pcx-1 is active".to_owned()));
    assert_eq!(judged(|object| object.spec.suspend = true), fail("spec.suspend stops all writes to AWS"));
    let (verdict, message) = judged(|object| object.metadata.generation = Some(2));
    assert!(verdict == Verdict::Fail && message.contains("generation 2"), "{message}");
    let (verdict, message) = judged(|object| object.status = None);
    assert!(verdict == Verdict::Fail && message.contains("generation 1"), "{message}");
    let (verdict, message) = judged(|object| {
        let conditions = object.status.as_mut().map(|status| &mut status.conditions);
        conditions.into_iter().flatten().for_each(|ready| {
            (ready.status, ready.reason) = ("False".into(), "RouteConflict".into());
        });
    });
    assert_eq!((verdict, message.as_str()), (Verdict::Fail, "Ready is False (RouteConflict): pcx-1 is active"));
}

#[test]
fn each_status_code_ends_at_one_line() {
    let vpcs = [Some("vpc-11111111"), Some("vpc-22222222")];
    for code in testing::every_code() {
        let lines = resource::of_connection(&object(Some("pcx-1")), Some(&testing::connection(code.clone())), vpcs);
        let failed: Vec<_> = lines.iter().filter(|line| line.verdict == Verdict::Fail).collect();
        assert_eq!(failed.len(), usize::from(code != StatusCode::Active), "{code}: {lines:?}");
        assert!(failed.iter().all(|line| line.remedy.as_ref().is_some_and(|remedy| !remedy.is_empty())), "{lines:?}");
        assert!(lines.last().is_some_and(|last| failed.iter().all(|failed| *failed == last)), "{lines:?}");
    }
    let active = testing::connection(StatusCode::Active);
    for (id, connection, vpcs, message) in [
        (None, None, vpcs, "has sent no request"),
        (Some("pcx-1"), None, vpcs, "EC2 shows no pcx-1"),
        (Some("pcx-1"), Some(&active), [Some("vpc-11111111"), Some("vpc-33333333")], "not the VPCs of the spec"),
    ] {
        let lines = resource::of_connection(&object(id), connection, vpcs);
        assert!(matches!(&*lines, [line] if line.message.contains(message)), "{lines:?}");
    }
}

fn ends() -> [End; 2] {
    Side::BOTH.map(|side| End {
        side,
        vpc_id: Some(format!("vpc-{side}")),
        region: None,
        account: None,
        principal: None,
    })
}

#[test]
fn each_address_belongs_to_one_vpc() -> anyhow::Result<()> {
    let blocks = |text: &[&str]| text.iter().map(|block| block.parse()).collect::<Result<Vec<IpNet>, _>>();
    let known = [blocks(&["10.1.0.0/16"])?, blocks(&["10.2.0.0/16"])?];
    let one_unknown = [blocks(&["10.1.0.0/16"])?, Vec::new()];
    for (from, to, blocks, expected) in [
        ("10.1.0.5", "10.2.0.5", &known, Ok([0, 1])),
        ("10.2.0.5", "10.1.0.5", &known, Ok([1, 0])),
        ("10.1.0.5", "10.2.0.5", &one_unknown, Ok([0, 1])),
        ("10.2.0.5", "10.1.0.5", &one_unknown, Ok([1, 0])),
        (
            "10.9.0.5",
            "10.1.0.5",
            &known,
            Err("--from 10.9.0.5 is in neither VPC: vpc-requester has 10.1.0.0/16 and vpc-accepter"),
        ),
        ("10.1.0.5", "10.9.0.5", &known, Err("--to 10.9.0.5 is in neither VPC")),
        ("10.1.0.5", "10.1.0.6", &known, Err("are in one VPC")),
    ] {
        let found = sides(&target::flow(from, to, Protocol::Tcp)?, blocks, &ends()).map_err(|error| error.to_string());
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{from} {to}"),
            (Err(error), Err(message)) => assert!(error.contains(message), "{error}"),
            other => panic!("{from} {to}: {other:?}"),
        }
    }
    Ok(())
}
