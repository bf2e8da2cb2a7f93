//! The query protocol of EC2 and STS over HTTP: parameters, signatures, filters, pages and XML responses. Service Quotas
//! uses JSON instead.
//! <https://docs.aws.amazon.com/ec2/latest/devguide/Query-Requests.html>
//! <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>

pub(crate) mod answer;
pub(crate) mod filter;
pub(crate) mod page;
pub(crate) mod params;
pub(crate) mod signature;
pub(crate) mod xml;

pub(crate) use filter::Filters;
pub(crate) use page::Page;
pub(crate) use params::Params;
pub(crate) use xml::Xml;

/// The content of a successful response.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Xml(Xml),
    Json(serde_json::Value),
}
