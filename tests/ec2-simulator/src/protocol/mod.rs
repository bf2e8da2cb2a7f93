//! How EC2 and STS are spoken to: the query protocol over HTTP.
//! <https://docs.aws.amazon.com/ec2/latest/devguide/Query-Requests.html>

pub mod answer;
pub mod filter;
pub mod page;
pub mod params;
pub mod signature;
pub mod xml;

pub use filter::Filters;
pub use page::Page;
pub use params::Params;
pub use xml::Xml;
