//! The SQS event queue. EventBridge events about peering connections refresh the inventories immediately. Events are
//! only hints: the state comes from EC2.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_config::Region;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, QueueAttributeName};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use serde::Deserialize;

use super::accounts::{Account, Accounts};
use super::calls::peerings::CONNECTION_ID;
use super::inventory::filters::{Filters, is_id_of};

/// Long polling time, in seconds. SQS allows 20, but the poll must end before the SDK's attempt timeout.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>
const LONG_POLL_SECONDS: i32 = 10;

/// Maximum messages per poll, limited by SQS.
const MAX_MESSAGES: i32 = 10;

/// Maximum backoff after a failed poll.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// The CloudTrail event names that trigger a refresh.
const EVENT_NAMES: [&str; 4] = [
    "CreateVpcPeeringConnection",
    "AcceptVpcPeeringConnection",
    "RejectVpcPeeringConnection",
    "DeleteVpcPeeringConnection",
];

/// The accounts, regions and connections that an event concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hint {
    /// Pairs of account and region.
    pub places: BTreeSet<(String, String)>,
    pub ids: BTreeSet<String>,
}

/// A CloudTrail event in EventBridge's format.
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

/// Parses a message. `None` if it is not an event about a peering connection. Others may be able to write to the queue,
/// so invalid connection IDs, account IDs and regions are dropped and never sent to EC2.
fn read(body: &str) -> Option<Hint> {
    let Envelope { account, region, detail } = serde_json::from_str(body).ok()?;
    EVENT_NAMES.contains(&detail.event_name.as_str()).then_some(())?;
    let mut hint = Hint { places: BTreeSet::from([(account, region.clone())]), ids: BTreeSet::new() };
    hint.ids.extend(detail.request_parameters.and_then(|parameters| parameters.vpc_peering_connection_id));
    if let Some(shown) = detail.response_elements.and_then(|response| response.vpc_peering_connection) {
        hint.ids.extend(shown.vpc_peering_connection_id);
        for place in [shown.requester_vpc_info, shown.accepter_vpc_info].into_iter().flatten() {
            // EC2 omits the region of an end that is in the caller's region.
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

/// Whether this has the form of a region name. It need not be a known region: it is only compared with those in use.
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

/// Asks SQS for the number of messages in the queue, and receives none.
///
/// # Errors
/// The code and the message of SQS.
pub async fn message_count(accounts: &Accounts, url: &str) -> Result<u64, String> {
    let name = QueueAttributeName::ApproximateNumberOfMessages;
    let call = client(accounts, url).get_queue_attributes().queue_url(url).attribute_names(name.clone());
    let answer = call.send().await.map_err(|error| describe(&error))?;
    let count = answer.attributes.unwrap_or_default().get(&name).and_then(|count| count.parse().ok());
    count.ok_or_else(|| format!("SQS returned no {name}"))
}

fn client(accounts: &Accounts, url: &str) -> Client {
    let mut config =
        aws_sdk_sqs::config::Builder::from(accounts.config()).interceptor(accounts.own().sdk_interceptor());
    if let Some(region) = region(url) {
        config = config.region(Region::new(region));
    }
    Client::from_conf(config.build())
}

/// Polls the queue forever. While that fails, the polls of the inventories find changes later.
pub async fn consume(accounts: &Accounts, url: &str) {
    let client = client(accounts, url);
    tracing::info!(url, "polling the event queue");
    let mut pause = backoff();
    loop {
        match receive(&client, url).await {
            Ok(messages) => {
                pause = backoff();
                let hints: Vec<_> = messages.iter().map(|message| message.body.as_deref().and_then(read)).collect();
                refresh(accounts, hints.iter().flatten());
                let junk = hints.iter().filter(|hint| hint.is_none()).count();
                if junk > 0 {
                    tracing::warn!(
                        count = junk,
                        "deleting messages from the event queue that are not peering events; check the EventBridge rule"
                    );
                }
                delete(&client, url, messages).await;
            }
            Err(error) => {
                let wait = pause.next().unwrap_or(MAX_BACKOFF);
                tracing::warn!(url, error, retry_in = ?wait, "cannot read the event queue; only polling finds changes");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn receive(client: &Client, url: &str) -> Result<Vec<Message>, String> {
    let call = client
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(MAX_MESSAGES)
        .wait_time_seconds(LONG_POLL_SECONDS);
    call.send().await.map(|answer| answer.messages.unwrap_or_default()).map_err(|error| describe(&error))
}

/// SQS delivers messages again if they are not deleted, which costs useless refreshes.
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
        Ok(answer) => tracing::warn!(url, failed = answer.failed.len(), "cannot delete messages from the event queue"),
        Err(error) => tracing::warn!(url, error = describe(&error), "cannot delete messages from the event queue"),
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

/// Refreshes each inventory that a hint concerns, once for all hints.
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
            let matching: Vec<_> = hints.iter().filter(concerns).collect();
            if matching.is_empty() {
                continue;
            }
            // A hint without a connection ID can concern any connection.
            let have_ids = matching.iter().all(|hint| !hint.ids.is_empty());
            let ids = matching.iter().flat_map(|hint| &hint.ids);
            let filters: Filters = ids.map(|id| (CONNECTION_ID, id)).collect();
            inventory.refresh(have_ids.then_some(filters));
        }
    }
}

fn is_in(hint: &Hint, account: &Arc<Account>, region: &str) -> bool {
    let known = account.known_id();
    hint.places.iter().any(|(owner, place)| place == region && known.is_none_or(|known| known == owner))
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(MAX_BACKOFF)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fuzzing;

    #[test]
    fn an_event_gives_the_accounts_and_regions_of_both_ends() {
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
    fn messages_that_are_not_peering_events_are_ignored() {
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
    fn invalid_ids_accounts_and_regions_are_dropped() {
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

    /// A message names at most three places and two connections, and nothing in it reaches EC2 in another form.
    #[test]
    fn fuzz_queue_messages() {
        fuzzing::run("queue-messages", None, |input| {
            let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
            let Some(Hint { places, ids }) = read(text) else { return Ok(()) };
            let are_places = places.iter().all(|(account, region)| {
                account.len() == 12 && account.chars().all(|digit| digit.is_ascii_digit()) && region.len() <= 32
            });
            if !are_places || !(1..=3).contains(&places.len()) {
                return Err(format!("places: {places:?}"));
            }
            let are_ids = ids.iter().all(|id| id.len() <= 21 && id.starts_with("pcx-") && id.is_ascii());
            if !are_ids || ids.len() > 2 {
                return Err(format!("IDs: {ids:?}"));
            }
            let filters: Filters = ids.iter().map(|id| (CONNECTION_ID, id)).collect();
            if filters.are_valid_ids() { Ok(()) } else { Err(format!("filters: {filters:?}")) }
        });
    }

    #[test]
    fn the_region_of_the_queue_comes_from_its_url() {
        assert_eq!(region("https://sqs.eu-west-1.amazonaws.com/111111111111/peerings"), Some("eu-west-1".into()));
        let in_china = "https://sqs.cn-north-1.amazonaws.com.cn/111111111111/peerings";
        assert_eq!(region(in_china), Some("cn-north-1".into()));
        for url in ["http://127.0.0.1:5000/111111111111/peerings", "peerings", ""] {
            assert_eq!(region(url), None, "{url}");
        }
    }
}
