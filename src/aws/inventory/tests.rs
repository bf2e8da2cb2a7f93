use std::collections::BTreeSet;
use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use aws_sdk_ec2::types::Filter;
use ec2_simulator::clock::Clock;
use ec2_simulator::journal::Query as JournalQuery;
use ec2_simulator::{Client, Fault, Kind, Matching, Server, Settings, Simulator};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use smol_str::SmolStr;

use super::view::{Page, all_pages};
use super::*;
use crate::aws::calls::peerings::{ACCEPTER_VPC_ID, CONNECTION_ID, REQUESTER_VPC_ID};
use crate::aws::error::AwsError;
use crate::aws::{Unobserved, testing};
use crate::peering::{CreateRequest, Snapshot};

const REGION: &str = "eu-central-1";
/// More than one page.
const MANY: usize = 1_100;

/// A simulated region and its inventory.
struct Polled {
    ec2: Arc<Ec2>,
    simulator: Client,
    inventory: Arc<Inventory<Snapshot>>,
    changed: mpsc::UnboundedReceiver<String>,
    /// The VPCs without a connection.
    free: [String; 2],
    _server: Server,
}

/// A region with this number of connections, and two VPCs without a connection.
async fn polled(number: usize, interval: Duration) -> Result<Polled, Box<dyn Error>> {
    let mut settings = Settings::default();
    settings.delays.initiating = Default::default();
    let simulator = Simulator::new(settings, Clock::new(Timestamp::now(), 1.0), 1);
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
    let simulator = Client::new(&server.url());
    let end = |number: usize| json!({"account": "111111111111", "region": REGION, "vpc_id": vpc(number)});
    let peerings: Vec<_> = (0..number)
        .map(|number| {
            let phase = json!({"code": "active"});
            json!({"id": id(number), "requester": end(2 * number), "accepter": end(2 * number + 1), "phase": phase})
        })
        .collect();
    let free = [0, 1].map(|one| vpc(2 * number + one));
    let vpcs = [0, 1].map(|one| {
        let block = format!("10.{one}.0.0/16");
        json!({"id": free[one], "account": "111111111111", "region": REGION, "cidr_blocks": [block]})
    });
    simulator.load(&serde_json::from_value(json!({"peerings": peerings, "vpcs": vpcs}))?).await?;
    let ec2 = Arc::new(testing::ec2(&server.url(), Arc::new(Unobserved)));
    let (sender, changed) = mpsc::unbounded_channel();
    let on_change: poller::ChangeListener = Arc::new(move |key| _ = sender.send(key));
    let settings = PollSettings { cluster: "cluster".into(), interval, on_change };
    let inventory = Inventories::new(Arc::clone(&ec2), settings).of(REGION);
    Ok(Polled { ec2, simulator, inventory, changed, free, _server: server })
}

impl Polled {
    /// Requests a connection between the two VPCs.
    async fn request(&self) -> Result<String, AwsError> {
        let [vpc_id, peer_vpc_id] = self.free.clone();
        let (peer_owner_id, peer_region, tags) = (None, None, Default::default());
        let region = REGION.to_owned();
        let request = CreateRequest { region, vpc_id, peer_vpc_id, peer_owner_id, peer_region, tags };
        Ok(self.ec2.create_vpc_peering_connection(&request).await?.id)
    }

    async fn calls(&self) -> Result<u64, Box<dyn Error>> {
        let counters = self.simulator.journal(&JournalQuery::default()).await?.counters;
        Ok(counters.get("DescribeVpcPeeringConnections").map(|counter| counter.calls).unwrap_or_default())
    }

    async fn known(&self, filters: Filters, since: Instant) -> Result<Arc<Snapshot>, AwsError> {
        let listing = self.inventory.query(filters, since).await;
        assert!(listing.outcome.is_err() || listing.as_of >= since);
        listing.outcome
    }
}

fn id(number: usize) -> String {
    format!("pcx-{number:017x}")
}

fn vpc(number: usize) -> String {
    format!("vpc-{number:017x}")
}

/// A fault of the next describe call.
fn once(kind: Kind) -> Fault {
    let matching = Matching { action: Some("DescribeVpcPeeringConnections".into()), ..Matching::default() };
    Fault { matching, count: Some(1), probability: 1.0, kind }
}

fn by(filter: &'static str, value: &str) -> Filters {
    Filters::default().and(filter, value)
}

#[tokio::test]
async fn a_single_page_is_always_listed_completely() -> Result<(), Box<dyn Error>> {
    let polled = polled(10, Duration::from_secs(60)).await?;
    let start = Instant::now();
    assert_eq!(polled.known(by(CONNECTION_ID, &id(3)), start).await?.len(), 10);
    let asked = polled.request().await?;
    let known = polled.known(by(CONNECTION_ID, &id(3)), Instant::now()).await?;
    assert!(known.get(&asked).is_some(), "the query did not list everything");
    assert_eq!(polled.calls().await?, 2);
    Ok(())
}

#[tokio::test]
async fn with_many_pages_a_query_polls_only_its_filters() -> Result<(), Box<dyn Error>> {
    let mut polled = polled(MANY, Duration::from_secs(60)).await?;
    assert_eq!(polled.known(by(CONNECTION_ID, &id(3)), Instant::now()).await?.len(), MANY);
    assert_eq!(polled.calls().await?, 2);
    while polled.changed.try_recv().is_ok() {}

    let asked = polled.request().await?;
    let [requester, accepter] = &polled.free;
    let (requester, accepter) = (by(REQUESTER_VPC_ID, requester), by(ACCEPTER_VPC_ID, accepter));
    let since = Instant::now();
    let (one, other) = tokio::join!(polled.known(requester.clone(), since), polled.known(requester.clone(), since));
    assert_eq!((one?.get(&asked).is_some(), other?.len()), (true, MANY + 1));
    assert_eq!(polled.calls().await?, 3, "concurrent queries share one call");
    assert_eq!(polled.known(requester, since).await?.len(), MANY + 1);
    assert_eq!(polled.calls().await?, 3, "a query that a previous poll answers needs no call");
    assert_eq!(polled.changed.try_recv()?, asked);

    // A partial poll removes the items that EC2 no longer returns. Items that its filters do not match stay.
    polled.ec2.delete_vpc_peering_connection(REGION, &asked).await?;
    polled.ec2.delete_vpc_peering_connection(REGION, &id(3)).await?;
    polled.simulator.advance(Duration::from_secs(86_400)).await?;
    let known = polled.known(accepter, Instant::now()).await?;
    assert_eq!((known.get(&asked).is_some(), known.get(&id(3)).is_some(), known.len()), (false, true, MANY));
    assert_eq!(polled.calls().await?, 4);
    Ok(())
}

#[tokio::test]
async fn a_partial_poll_does_not_wait_for_a_complete_listing_and_is_not_lost_by_it() -> Result<(), Box<dyn Error>> {
    let polled = polled(MANY, Duration::from_secs(2)).await?;
    polled.known(by(CONNECTION_ID, &id(3)), Instant::now()).await?;
    // The first page of the next listing shows the current state, but arrives after newer partial polls.
    polled.simulator.add_fault(&once(Kind::StaleDescribe { seconds: 1e6 })).await?;
    let gate = polled.simulator.add_fault(&once(Kind::Gate)).await?;
    while polled.simulator.faults().await?.iter().all(|fault| fault.hits == 0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = polled.inventory.latest().and_then(|listing| listing.last_complete).ok_or("no listing")?;
    let asked = polled.request().await?;
    let known = polled.known(by(CONNECTION_ID, &asked), Instant::now()).await?;
    assert!(known.get(&asked).is_some());
    polled.ec2.delete_vpc_peering_connection(REGION, &id(3)).await?;
    polled.simulator.advance(Duration::from_secs(86_400)).await?;
    let known = polled.known(by(CONNECTION_ID, &id(3)), Instant::now()).await?;
    assert!(known.get(&id(3)).is_none());
    polled.simulator.remove_fault(gate).await?;
    let complete = async || {
        loop {
            let listing = polled.inventory.latest().filter(|listing| listing.last_complete > Some(before));
            match listing {
                Some(listing) => break listing,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let known = complete().await.outcome?;
    assert_eq!((known.get(&asked).is_some(), known.get(&id(3)).is_none()), (true, true));
    Ok(())
}

#[tokio::test]
async fn while_a_crowd_needs_a_complete_listing_the_newest_query_does_not_wait_for_it() -> Result<(), Box<dyn Error>> {
    const CROWD: usize = 1_000;
    let polled = polled(2 * MANY, Duration::from_secs(60)).await?;
    let before = polled.inventory.query(by(CONNECTION_ID, &id(0)), Instant::now()).await;
    let pages = polled.calls().await?;
    let asked = polled.request().await?;
    (0..CROWD).for_each(|number| polled.inventory.refresh(Some(by(CONNECTION_ID, &id(number)))));
    // More values than a partial poll takes.
    polled.inventory.refresh(Some((0..CROWD).map(|number| (CONNECTION_ID, id(number))).collect()));
    let single = polled.inventory.query(by(REQUESTER_VPC_ID, &polled.free[0]), Instant::now()).await;
    assert!(single.outcome.as_ref().is_ok_and(|known| known.get(&asked).is_some()));
    assert_eq!(single.last_complete, before.last_complete, "it waited for the crowd");
    assert_eq!(polled.calls().await?, pages + 2, "one call for each filter");
    let polls = async {
        let mut polls = 0;
        while polled.inventory.query(by(CONNECTION_ID, &asked), Instant::now()).await.last_complete
            == before.last_complete
        {
            polls += 1;
        }
        polls
    };
    assert!(polls.await < 5, "new queries delay the listing for the crowd");
    Ok(())
}

#[tokio::test]
async fn after_a_failed_poll_everything_is_listed_again() -> Result<(), Box<dyn Error>> {
    let polled = polled(MANY, Duration::from_secs(60)).await?;
    polled.known(by(CONNECTION_ID, &id(3)), Instant::now()).await?;
    let kind = Kind::Error { code: "UnauthorizedOperation".into(), message: None, status: None };
    polled.simulator.add_fault(&once(kind)).await?;
    let since = Instant::now();
    assert!(polled.known(by(CONNECTION_ID, &id(3)), since).await.is_err());
    assert!(polled.known(by(CONNECTION_ID, &id(4)), since).await.is_err(), "the backoff was not respected");
    assert_eq!(polled.calls().await?, 3);
    tokio::time::sleep(polled.inventory.latest().map(|listing| listing.retry_after()).unwrap_or_default()).await;
    assert_eq!(polled.known(by(CONNECTION_ID, &id(3)), since).await?.len(), MANY);
    assert_eq!(polled.calls().await?, 5);
    Ok(())
}

#[tokio::test]
async fn invalid_ids_are_not_sent_to_ec2() -> Result<(), Box<dyn Error>> {
    let polled = polled(MANY, Duration::from_secs(60)).await?;
    polled.known(by(CONNECTION_ID, &id(3)), Instant::now()).await?;
    let long = format!("pcx-{}", "0".repeat(1_000));
    for odd in ["", "pcx-*", "pcx-0123456", "PCX-01234567", "pcx-0123456789abcdef01", &long] {
        // A valid ID in the same poll is not affected.
        let (odd, proper) = tokio::join!(
            polled.known(by(CONNECTION_ID, odd), Instant::now()),
            polled.known(by(CONNECTION_ID, &id(5)), Instant::now()),
        );
        assert_eq!((odd?.len(), proper?.len()), (MANY, MANY));
    }
    let entries = polled.simulator.journal(&JournalQuery::default()).await?.entries;
    let values = entries.iter().filter_map(|entry| entry.parameters.get("Filter.1.Value.1"));
    assert!(values.into_iter().all(|value| *value == id(5)), "an invalid ID was sent to EC2");
    Ok(())
}

/// A list without end, whose page tokens repeat after `CYCLE` pages.
#[derive(Debug, Default)]
struct Endless<const CYCLE: usize>;

impl<const CYCLE: usize> FromIterator<Arc<()>> for Endless<CYCLE> {
    fn from_iter<I: IntoIterator<Item = Arc<()>>>(_: I) -> Self {
        Self
    }
}

impl<const CYCLE: usize> View for Endless<CYCLE> {
    type Item = ();

    const PAGE_SIZE: usize = 1;
    const NAME: &'static str = "items";

    async fn page(_: &Ec2, _: &str, _: Option<Filter>, token: Option<String>) -> Result<Page<()>, AwsError> {
        let page = token.and_then(|token| token.parse::<usize>().ok()).unwrap_or_default();
        Ok(Page { items: Vec::new(), next: Some(((page + 1) % CYCLE).to_string()) })
    }

    fn items(&self) -> impl ExactSizeIterator<Item = &Arc<()>> {
        [].iter()
    }

    fn share(&self, (): (), _: &SmolStr) -> Arc<()> {
        Arc::default()
    }

    fn filter_value<'a>((): &'a (), _: &str) -> Option<&'a str> {
        None
    }

    fn changes_since(&self, _: &Self) -> BTreeSet<String> {
        BTreeSet::new()
    }

    fn transient(&self, _: &str) -> Filters {
        Filters::default()
    }
}

#[tokio::test]
async fn a_list_without_end_is_an_error() -> Result<(), Box<dyn Error>> {
    async fn refusals<V: View>(ec2: &Arc<Ec2>) -> Result<[String; 2], Box<dyn Error>> {
        let (cluster, interval) = ("cluster".into(), Duration::from_secs(60));
        let settings = PollSettings { cluster, interval, on_change: Arc::new(|_| {}) };
        let whole = Inventories::<V>::new(Arc::clone(ec2), settings).of(REGION);
        let whole = whole.query(by(CONNECTION_ID, &id(1)), Instant::now()).await.outcome.err();
        let part = all_pages::<V>(ec2, REGION, None).await.err();
        Ok([whole, part].map(|error| error.map(|error| error.to_string()).unwrap_or_default()))
    }
    let ec2 = Arc::new(testing::ec2("http://127.0.0.1:1", Arc::new(Unobserved)));
    for refusal in refusals::<Endless<7>>(&ec2).await? {
        assert_eq!(refusal, "Describe: EC2 returned a page token twice for one list of items");
    }
    for refusal in refusals::<Endless<1_000_000>>(&ec2).await? {
        assert_eq!(refusal, "Describe: EC2 returned more than 500 pages of items");
    }
    Ok(())
}
