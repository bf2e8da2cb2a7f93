//! An XML writer: elements, texts, and lists in EC2's `item` format.

use std::borrow::Cow;
use std::fmt::{Display, Write};

use quick_xml::escape::escape;

/// XML under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Xml(String);

impl Xml {
    pub(crate) fn into_string(self) -> String {
        self.0
    }

    /// Writes an element. `content` writes its children.
    pub(crate) fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.tag("<", name, ">");
        content(self);
        self.tag("</", name, ">");
    }

    /// Writes an element with an escaped text.
    pub(crate) fn text(&mut self, name: &str, value: impl Display) {
        self.element(name, |Self(xml)| {
            let start = xml.len();
            // Writing to a string cannot fail.
            write!(xml, "{value}").ok();
            if let Cow::Owned(escaped) = escape(&xml[start..]) {
                xml.truncate(start);
                xml.push_str(&escaped);
            }
        });
    }

    /// Writes an element with a text if there is a value.
    pub(crate) fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// Writes a list with one `item` element for each value.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut content: impl FnMut(&mut Self, T),
    ) {
        self.element(name, |xml| {
            for item in items {
                xml.element("item", |xml| content(xml, item));
            }
        });
    }

    /// Creates a document with this root element.
    pub(crate) fn root(name: &str, namespace: &str, content: impl FnOnce(&mut Self)) -> Self {
        let mut xml = Self(String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"));
        xml.tag("<", name, " xmlns=\"");
        xml.tag(namespace, "\"", ">");
        content(&mut xml);
        xml.tag("</", name, ">");
        xml
    }

    /// Appends XML without escaping.
    pub(crate) fn append(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    fn tag(&mut self, before: &str, name: &str, after: &str) {
        for part in [before, name, after] {
            self.0.push_str(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_absent_elements_are_omitted() {
        let xml = Xml::root("Answer", "urn:x", |xml| {
            xml.list("set", ["a<b", "c&d"], |xml, value| xml.text("value", value));
            xml.optional("none", None::<&str>);
        });
        assert_eq!(
            xml.into_string(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Answer xmlns=\"urn:x\"><set><item><value>a&lt;b</value></item>\
             <item><value>c&amp;d</value></item></set></Answer>"
        );
    }
}
