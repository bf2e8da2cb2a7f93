//! The XML envelopes of responses and errors.

use jiff::Timestamp;

use serde_json::json;

use super::{Content, Xml};
use crate::error::Error;
use crate::world::identity::Service;

/// The media type of the responses of a service.
pub(crate) fn media_type(service: Service) -> &'static str {
    match service {
        Service::Ec2 | Service::Sts => "text/xml;charset=UTF-8",
        Service::Quotas => "application/x-amz-json-1.1",
    }
}

/// A complete success response.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/Query-Requests.html#query-responses> and
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html#API_AssumeRole_Examples>
pub(crate) fn success(service: Service, action: &str, request_id: &str, content: &Content) -> String {
    let content = match content {
        Content::Xml(xml) => xml,
        Content::Json(json) => return json.to_string(),
    };
    let root = format!("{action}Response");
    let xml = match service {
        Service::Ec2 => Xml::root(&root, namespace(service), |xml| {
            xml.text("requestId", request_id);
            xml.append(content);
        }),
        Service::Sts | Service::Quotas => Xml::root(&root, namespace(service), |xml| {
            xml.element(&format!("{action}Result"), |xml| xml.append(content));
            xml.element("ResponseMetadata", |xml| xml.text("RequestId", request_id));
        }),
    };
    xml.into_string()
}

/// A complete error response.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html#api-error-response>
pub(crate) fn failure(service: Service, request_id: &str, error: &Error) -> String {
    if service == Service::Quotas {
        return json!({"__type": error.code, "message": error.message}).to_string();
    }
    let mut body = Xml::default();
    body.element("Error", |xml| {
        if service == Service::Sts {
            xml.text("Type", if error.status < 500 { "Sender" } else { "Receiver" });
        }
        xml.text("Code", &error.code);
        xml.text("Message", &error.message);
    });
    match service {
        Service::Ec2 => {
            let mut xml = Xml::default();
            xml.element("Response", |xml| {
                xml.element("Errors", |xml| xml.append(&body));
                xml.text("RequestID", request_id);
            });
            format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", xml.into_string())
        }
        Service::Sts | Service::Quotas => Xml::root("ErrorResponse", namespace(service), |xml| {
            xml.append(&body);
            xml.text("RequestId", request_id);
        })
        .into_string(),
    }
}

fn namespace(service: Service) -> &'static str {
    match service {
        Service::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
        Service::Sts | Service::Quotas => "https://sts.amazonaws.com/doc/2011-06-15/",
    }
}

/// Formats a time as EC2 does, with milliseconds.
pub(crate) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
