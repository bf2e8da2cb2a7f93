//! A client of the control API.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::clock::{Change, Reading};
use crate::control::NewKey;
use crate::faults::{ActiveFault, Fault};
use crate::iam::Attachment;
use crate::journal::{Excerpt, Query};
use crate::world::identity::Credentials;
use crate::world::{Role, Scene, Settings};

/// A client of the control API of one simulator. Every call fails if the simulator cannot be reached, rejects the
/// request or returns unexpected JSON.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    http: legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// Creates a client for the URL of a simulator, as [`crate::Server::url`] returns it.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let base = format!("{}/_simulator", url.trim_end_matches('/'));
        Self { base, http: legacy::Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Returns the time and factor of the clock.
    pub async fn clock(&self) -> Result<Reading> {
        self.get("clock").await
    }

    /// Moves the clock forward by a period.
    pub async fn advance(&self, period: Duration) -> Result<Reading> {
        self.change_clock(Change { advance: Some(period.as_secs_f64()), ..Change::default() }).await
    }

    /// Moves the clock forward to a time.
    pub async fn set_time(&self, time: Timestamp) -> Result<Reading> {
        self.change_clock(Change { set: Some(time), ..Change::default() }).await
    }

    /// Sets the factor of the clock. 0 stops the clock.
    pub async fn run_at(&self, factor: f64) -> Result<Reading> {
        self.change_clock(Change { factor: Some(factor), ..Change::default() }).await
    }

    async fn change_clock(&self, change: Change) -> Result<Reading> {
        self.send(Method::POST, "clock", Some(&change)).await
    }

    /// Returns the settings.
    pub async fn settings(&self) -> Result<Settings> {
        self.get("settings").await
    }

    /// Merges JSON into the settings, such as `{"delays": {"initiating": 0}}`.
    pub async fn set(&self, settings: &Value) -> Result<Settings> {
        self.send(Method::POST, "settings", Some(settings)).await
    }

    /// Adds a fault and returns its ID.
    pub async fn add_fault(&self, fault: &Fault) -> Result<u64> {
        let answer: Value = self.send(Method::POST, "faults", Some(fault)).await?;
        answer["id"].as_u64().ok_or_else(|| anyhow!("the response has no fault ID: {answer}"))
    }

    /// Returns all faults, including those that have reached their count.
    pub async fn faults(&self) -> Result<Vec<ActiveFault>> {
        self.get("faults").await
    }

    /// Removes a fault.
    pub async fn remove_fault(&self, id: u64) -> Result<()> {
        self.delete(&format!("faults/{id}")).await
    }

    /// Removes all faults.
    pub async fn clear_faults(&self) -> Result<()> {
        self.delete("faults").await
    }

    /// Returns the calls that match the query, and the counters of all calls.
    pub async fn journal(&self, query: &Query) -> Result<Excerpt> {
        let pairs = serde_json::to_value(query)?;
        let pairs = pairs.as_object().into_iter().flatten();
        let pairs = pairs.filter_map(|(name, value)| Some((name, value.as_str()?)));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.get(&format!("journal?{query}")).await
    }

    /// Clears the journal and its counters.
    pub async fn clear_journal(&self) -> Result<()> {
        self.delete("journal").await
    }

    /// Clears the journal and its counters, and returns what they were. No call is lost between the two.
    pub async fn take_journal(&self) -> Result<Excerpt> {
        self.send(Method::DELETE, "journal", None::<&()>).await
    }

    /// Returns the world as a scene, for [`Self::load`].
    pub async fn save(&self) -> Result<Scene> {
        self.get("state").await
    }

    /// Replaces the world with a scene.
    pub async fn load(&self, scene: &Scene) -> Result<Scene> {
        self.send(Method::PUT, "state", Some(scene)).await
    }

    /// Adds the resources of a scene to the world. A resource replaces the one with its ID.
    pub async fn add(&self, scene: &Scene) -> Result<Scene> {
        self.send(Method::POST, "state", Some(scene)).await
    }

    /// Creates an access key. The first key of an account creates the account.
    pub async fn create_key(&self, account: &str) -> Result<Credentials> {
        let key = NewKey { account: account.to_owned(), access_key_id: None };
        self.send(Method::POST, "accounts", Some(&key)).await
    }

    /// Makes an access key expire now.
    pub async fn expire_key(&self, id: &str) -> Result<()> {
        self.send(Method::POST, &format!("accounts/keys/{id}/expire"), None::<&()>).await.map(|IgnoredAny| ())
    }

    /// Deletes an access key.
    pub async fn revoke_key(&self, id: &str) -> Result<()> {
        self.delete(&format!("accounts/keys/{id}")).await
    }

    /// Adds or replaces a role.
    pub async fn put_role(&self, role: &Role) -> Result<()> {
        self.send(Method::POST, "roles", Some(role)).await.map(|IgnoredAny| ())
    }

    /// Attaches a policy. Replaces the policy of the same principal and name.
    pub async fn attach_policy(&self, attachment: &Attachment) -> Result<()> {
        self.send(Method::POST, "policies", Some(attachment)).await.map(|IgnoredAny| ())
    }

    /// Removes a policy.
    pub async fn detach_policy(&self, principal: &str, name: &str) -> Result<()> {
        let pairs = [("principal", principal), ("name", name)];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.delete(&format!("policies?{query}")).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(Method::GET, path, None::<&()>).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.send(Method::DELETE, path, None::<&()>).await.map(|IgnoredAny| ())
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<T> {
        let uri: Uri = format!("{}/{path}", self.base).parse()?;
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request = Request::builder().method(method).uri(&uri).body(Full::new(Bytes::from(body)))?;
        let response =
            self.http.request(request).await.with_context(|| format!("cannot reach the simulator at {uri}"))?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            return Err(anyhow!("{uri} returned {status}: {}", String::from_utf8_lossy(&body)));
        }
        serde_json::from_slice(&body).with_context(|| format!("{uri} returned unexpected JSON"))
    }
}
