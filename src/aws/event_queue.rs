//! The event queue: what EventBridge says of peerings wakes the inventories at once. Messages are only hints; what is so
//! is what EC2 shows then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_config::Region;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use serde::Deserialize;

use super::accounts::{Account, Accounts};
use super::calls::peerings::CONNECTION_ID;
use super::inventory::filters::{Filters, is_id_of};

/// How long a poll waits for a message, in seconds. SQS allows 20; an attempt must not take longer than ours may.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>
const WAIT: i32 = 10;

/// The most messages that SQS gives at once.
const AT_ONCE: i32 = 10;

/// The longest pause after SQS has refused.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What CloudTrail calls the changes that matter.
const CHANGES: [&str; 4] = [
    "CreateVpcPeeringConnection",
    "AcceptVpcPeeringConnection",
    "RejectVpcPeeringConnection",
    "DeleteVpcPeeringConnection",
];

/// An account and a region in which something happened, and to which connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hint {
    /// Account and region.
    pub places: BTreeSet<(String, String)>,
    /// Connections.
    pub ids: BTreeSet<String>,
}

/// An event as EventBridge wraps it.
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html>
#[derive(Deserialize)]
struct Envelope {
    account: String,
    region: String,
    detail: Detail,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    event_name: String,
    #[serde(default)]
    request_parameters: Option<Parameters>,
    #[serde(default)]
    response_elements: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    #[serde(default)]
    vpc_peering_connection_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    vpc_peering_connection: Option<Shown>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(default)]
    vpc_peering_connection_id: Option<String>,
    #[serde(default)]
    requester_vpc_info: Option<Place>,
    #[serde(default)]
    accepter_vpc_info: Option<Place>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    #[serde(default)]
    owner_id: Option<String>,
    #[serde(default)]
    region: Option<String>,
}

/// What a message tells; none where it is not of ours to read. Others may write to the queue: what is no ID of a
/// connection, no account and no region is left out, so that EC2 is never asked for it.
fn read(body: &str) -> Option<Hint> {
    let Envelope { account, region, detail } = serde_json::from_str(body).ok()?;
    CHANGES.contains(&detail.event_name.as_str()).then_some(())?;
    let mut hint = Hint { places: BTreeSet::from([(account, region.clone())]), ids: BTreeSet::new() };
    hint.ids.extend(detail.request_parameters.and_then(|parameters| parameters.vpc_peering_connection_id));
    if let Some(shown) = detail.response_elements.and_then(|response| response.vpc_peering_connection) {
        hint.ids.extend(shown.vpc_peering_connection_id);
        for place in [shown.requester_vpc_info, shown.accepter_vpc_info].into_iter().flatten() {
            // EC2 leaves out the region of an end in the caller's own.
            let region = place.region.unwrap_or_else(|| region.clone());
            hint.places.extend(place.owner_id.map(|owner| (owner, region)));
        }
    }
    hint.ids.retain(|id| is_id_of("pcx", id));
    hint.places.retain(|(account, region)| is_account_id(account) && is_region(region));
    (!hint.places.is_empty()).then_some(hint)
}

fn is_account_id(id: &str) -> bool {
    id.len() == 12 && id.bytes().all(|digit| digit.is_ascii_digit())
}

/// Whether a region may have this name. It need not be one that this release knows: it is only compared with those in use.
fn is_region(name: &str) -> bool {
    let is_usual = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(is_usual)
}

/// The region in a queue's URL. <https://docs.aws.amazon.com/general/latest/gr/sqs-service.html>
fn region(url: &str) -> Option<String> {
    let host = url.split("://").nth(1)?.split('/').next()?;
    let mut labels = host.split('.');
    (labels.next()? == "sqs").then_some(())?;
    labels.next().map(str::to_owned)
}

/// Reads the queue without end. Without it, or while it fails, polls find what happens, later.
pub async fn consume(accounts: &Accounts, url: &str) {
    let mut config =
        aws_sdk_sqs::config::Builder::from(accounts.config()).interceptor(accounts.own().sdk_interceptor());
    if let Some(region) = region(url) {
        config = config.region(Region::new(region));
    }
    let client = Client::from_conf(config.build());
    tracing::info!(url, "listening to the event queue");
    let mut pause = pauses();
    loop {
        match receive(&client, url).await {
            Ok(messages) => {
                pause = pauses();
                let hints: Vec<_> = messages.iter().map(|message| message.body.as_deref().and_then(read)).collect();
                refresh(accounts, hints.iter().flatten());
                let junk = hints.iter().filter(|hint| hint.is_none()).count();
                if junk > 0 {
                    tracing::warn!(junk, "the event queue holds messages that tell of no peering; they are deleted");
                }
                delete(&client, url, messages).await;
            }
            Err(error) => {
                let wait = pause.next().unwrap_or(LONGEST_PAUSE);
                tracing::warn!(url, error, retry_in = ?wait, "cannot read the event queue; changes are found by polling alone");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn receive(client: &Client, url: &str) -> Result<Vec<Message>, String> {
    let call = client.receive_message().queue_url(url).max_number_of_messages(AT_ONCE).wait_time_seconds(WAIT);
    call.send().await.map(|answer| answer.messages.unwrap_or_default()).map_err(|error| describe(&error))
}

/// What is not deleted comes again, and wakes in vain.
async fn delete(client: &Client, url: &str, messages: Vec<Message>) {
    let entries: Vec<_> = messages
        .into_iter()
        .filter_map(|message| message.receipt_handle)
        .enumerate()
        .filter_map(|(number, receipt)| {
            DeleteMessageBatchRequestEntry::builder().id(number.to_string()).receipt_handle(receipt).build().ok()
        })
        .collect();
    if entries.is_empty() {
        return;
    }
    let answer = client.delete_message_batch().queue_url(url).set_entries(Some(entries)).send().await;
    match answer {
        Ok(answer) if answer.failed.is_empty() => {}
        Ok(answer) => tracing::warn!(failed = answer.failed.len(), "cannot delete messages from the event queue"),
        Err(error) => tracing::warn!(error = describe(&error), "cannot delete messages from the event queue"),
    }
}

fn describe<E>(error: &SdkError<E, aws_sdk_sqs::config::http::HttpResponse>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match (error.code(), error.message()) {
        (Some(code), message) => format!("{code}: {}", message.unwrap_or_default()),
        (None, _) => DisplayErrorContext(error).to_string(),
    }
}

/// Looks anew where one of the hints may matter. Many at once cost one look.
fn refresh<'a>(accounts: &Accounts, hints: impl Iterator<Item = &'a Hint>) {
    let hints: Vec<_> = hints.collect();
    if hints.is_empty() {
        return;
    }
    for account in accounts.all() {
        for (region, inventory) in account.peerings.all() {
            let shows = |id: &String| {
                let listing = inventory.latest();
                listing.and_then(|listing| listing.outcome.ok()).is_some_and(|snapshot| snapshot.get(id).is_some())
            };
            let concerns = |hint: &&&Hint| is_in(hint, &account, &region) || hint.ids.iter().any(shows);
            let concerning: Vec<_> = hints.iter().filter(concerns).collect();
            if concerning.is_empty() {
                continue;
            }
            // One that names no connection may be of any.
            let is_told = concerning.iter().all(|hint| !hint.ids.is_empty());
            let ids = concerning.iter().flat_map(|hint| &hint.ids);
            let questions: Filters = ids.map(|id| (CONNECTION_ID, id)).collect();
            inventory.refresh(is_told.then_some(questions));
        }
    }
}

fn is_in(hint: &Hint, account: &Arc<Account>, region: &str) -> bool {
    let known = account.known_id();
    hint.places.iter().any(|(owner, place)| place == region && known.is_none_or(|known| known == owner))
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_names_every_place_that_it_concerns() {
        let event = json!({
            "source": "aws.ec2", "account": "222222222222", "region": "eu-west-1",
            "detail": {
                "eventName": "AcceptVpcPeeringConnection",
                "requestParameters": {"vpcPeeringConnectionId": "pcx-0123456789abcdef0"},
                "responseElements": {"vpcPeeringConnection": {
                    "vpcPeeringConnectionId": "pcx-0123456789abcdef0",
                    "requesterVpcInfo": {"ownerId": "111111111111", "region": "us-east-1"},
                    "accepterVpcInfo": {"ownerId": "222222222222"},
                }},
            },
        });
        let place = |account: &str, region: &str| (account.to_owned(), region.to_owned());
        let places = BTreeSet::from([place("111111111111", "us-east-1"), place("222222222222", "eu-west-1")]);
        assert_eq!(
            read(&event.to_string()),
            Some(Hint { places, ids: BTreeSet::from(["pcx-0123456789abcdef0".to_owned()]) })
        );
    }

    #[test]
    fn what_tells_of_no_peering_is_junk() {
        let place = |account: &str, region: &str, event: &str| {
            json!({"account": account, "region": region, "detail": {"eventName": event}}).to_string()
        };
        let junk = [
            String::new(),
            "hello".into(),
            "{}".into(),
            "[1, 2]".into(),
            "{\"detail\": null}".into(),
            place("111111111111", "eu-west-1", "RunInstances"),
            place("1", "eu-west-1", "DeleteVpcPeeringConnection"),
            place("11111111111a", "eu-west-1", "DeleteVpcPeeringConnection"),
            place("111111111111", "EU-WEST-1", "DeleteVpcPeeringConnection"),
        ];
        for body in junk {
            assert_eq!(read(&body), None, "{body}");
        }
        let refused = json!({"account": "111111111111", "region": "eu-west-1", "detail": {
            "eventName": "DeleteVpcPeeringConnection", "requestParameters": null, "responseElements": null,
        }});
        assert!(read(&refused.to_string()).is_some());
    }

    #[test]
    fn what_is_invented_is_left_out() {
        let of = |id: &str, owner: &str, region: &str| {
            json!({
                "account": "222222222222", "region": "eu-west-1",
                "detail": {
                    "eventName": "AcceptVpcPeeringConnection",
                    "requestParameters": {"vpcPeeringConnectionId": id},
                    "responseElements": {"vpcPeeringConnection": {
                        "vpcPeeringConnectionId": id, "requesterVpcInfo": {"ownerId": owner, "region": region},
                    }},
                },
            })
            .to_string()
        };
        let ids =
            ["pcx-0123456", "pcx-0123456789abcdef01", "pcx-0123456G", "pcx-0123456F", "vpc-01234567", "*", "pcx-*", ""];
        let long = "a".repeat(1_000);
        let places = [("1111", "us-east-1"), ("111111111111", "us_east_1"), (long.as_str(), "us-east-1")];
        for (id, (owner, region)) in ids.into_iter().chain([long.as_str()]).zip(places.into_iter().cycle()) {
            let places = BTreeSet::from([("222222222222".to_owned(), "eu-west-1".to_owned())]);
            assert_eq!(
                read(&of(id, owner, region)),
                Some(Hint { places, ids: BTreeSet::new() }),
                "{id} {owner} {region}"
            );
        }
        for id in ["pcx-01234567", "pcx-0123456789abcdef0"] {
            let hint = read(&of(id, "111111111111", "us-east-1"));
            assert_eq!(hint.map(|hint| (hint.ids.len(), hint.places.len())), Some((1, 2)), "{id}");
        }
    }

    #[test]
    fn the_region_is_in_the_url() {
        assert_eq!(region("https://sqs.eu-west-1.amazonaws.com/111111111111/peerings"), Some("eu-west-1".into()));
        for url in ["http://127.0.0.1:5000/111111111111/peerings", "peerings", ""] {
            assert_eq!(region(url), None, "{url}");
        }
    }
}
