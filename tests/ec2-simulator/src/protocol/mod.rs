//! The query protocol of EC2 and STS over HTTP: parameters, signatures, filters, pages and XML responses.
//! <https://docs.aws.amazon.com/ec2/latest/devguide/Query-Requests.html>

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
