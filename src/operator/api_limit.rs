//! The limit of concurrent requests to the API server. Each needs a connection, which costs memory.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::{BoxFuture, poll_fn};
use hyper::Request;
use tokio::sync::Mutex;
use tower::{Layer, Service};

use crate::controller::NamespaceShare;

/// Maximum concurrent requests to the API server, not counting watches.
const MAX_API_REQUESTS: usize = 32;

/// Maximum concurrent requests about the objects of one namespace. Those of a namespace with many resources do not delay
/// those of another.
const MAX_PER_NAMESPACE: usize = 24;

/// Adds the limit to a client.
#[derive(Clone, Debug)]
pub(super) struct ApiLimit(Arc<NamespaceShare>);

impl ApiLimit {
    pub(super) fn new() -> Self {
        Self(Arc::new(NamespaceShare::new(MAX_API_REQUESTS, MAX_PER_NAMESPACE)))
    }
}

impl<S> Layer<S> for ApiLimit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { limit: Arc::clone(&self.0), inner: Arc::new(Mutex::new(inner)) }
    }
}

/// A client with the limit. The limit ends with the headers of an answer, so that a watch does not count.
#[derive(Clone, Debug)]
pub(super) struct Limited<S> {
    limit: Arc<NamespaceShare>,
    /// Locked only while a request is handed over.
    inner: Arc<Mutex<S>>,
}

impl<S, B> Service<Request<B>> for Limited<S>
where
    S: Service<Request<B>, Future: Send> + Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    /// Always ready. Requests wait after this, so that none blocks the queue of the client.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (limit, inner) = (Arc::clone(&self.limit), Arc::clone(&self.inner));
        async move {
            let _share = limit.acquire(namespace(request.uri().path())).await;
            let answer = {
                let mut inner = inner.lock().await;
                poll_fn(|context| inner.poll_ready(context)).await?;
                inner.call(request)
            };
            answer.await
        }
        .boxed()
    }
}

/// The namespace in the path of a request. Empty for cluster-scoped objects and requests about all namespaces.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris>
fn namespace(path: &str) -> &str {
    let mut parts = path.split('/');
    parts.find(|part| *part == "namespaces").and_then(|_| parts.next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn the_namespace_is_in_the_path() {
        for (path, expected) in [
            ("/apis/vpcpeering.dev/v1alpha1/namespaces/team/vpcpeerings/a/status", "team"),
            ("/api/v1/namespaces/kube-system", "kube-system"),
            ("/apis/vpcpeering.dev/v1alpha1/vpcpeerings", ""),
            ("/api/v1/namespaces", ""),
            ("", ""),
        ] {
            assert_eq!(namespace(path), expected, "{path}");
        }
    }

    /// An API server that answers once the test lets it.
    struct Held(Arc<Semaphore>);

    impl Service<Request<()>> for Held {
        type Response = String;
        type Error = Infallible;
        type Future = BoxFuture<'static, Result<String, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            let held = Arc::clone(&self.0);
            async move {
                if let Ok(permit) = held.acquire().await {
                    permit.forget();
                }
                Ok(request.uri().path().to_owned())
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_requests_of_one_namespace_delay_no_other() {
        let held = Arc::new(Semaphore::new(0));
        let mut client = ApiLimit::new().layer(Held(Arc::clone(&held)));
        let mut request = |namespace: &str| {
            let path = format!("/api/v1/namespaces/{namespace}/events");
            client.call(Request::get(path).body(()).unwrap_or_default())
        };
        let crowd: Vec<_> = (0..1_000).map(|_| tokio::spawn(request("crowd"))).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let single = tokio::spawn(request("single"));
        tokio::time::sleep(Duration::from_millis(1)).await;
        // As many answers as the crowd may await at once, and one more.
        held.add_permits(MAX_PER_NAMESPACE + 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(single.is_finished());
        assert_eq!(crowd.iter().filter(|request| request.is_finished()).count(), MAX_PER_NAMESPACE);
        held.add_permits(1_000);
        for request in crowd {
            assert!(request.await.is_ok());
        }
    }
}
