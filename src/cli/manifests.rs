//! Manifests in files, which several subcommands read.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One object of a file. It is displayed as its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    /// The name of the file.
    pub file: String,
    pub object: Value,
}

impl Document {
    /// The kind, if it is one of this operator.
    pub(crate) fn kind(&self) -> Option<&str> {
        let group = self.object["apiVersion"].as_str()?;
        self.object["kind"].as_str().filter(|_| group.starts_with("vpcpeering.dev/"))
    }

    /// The name of the object.
    ///
    /// # Errors
    /// If it has none.
    pub(crate) fn name(&self) -> anyhow::Result<&str> {
        let name = self.object["metadata"]["name"].as_str().filter(|name| !name.is_empty());
        name.with_context(|| format!("{self}: metadata.name is missing; set it"))
    }

    /// # Errors
    /// If the object has wrong fields. The error names the place.
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_value(self.object.clone()).with_context(|| format!("{self} has wrong fields; correct them"))
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.object["kind"].as_str().unwrap_or("an object without a kind");
        let name = self.object["metadata"]["name"].as_str().unwrap_or("without a name");
        write!(f, "{}: {kind} {name}", self.file)
    }
}

/// The objects in YAML or JSON files; the path `-` means standard input. The items of a `List` are objects, too.
///
/// # Errors
/// If a file cannot be read or parsed.
pub(crate) fn read(files: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    Ok(documents(files)?.into_iter().map(|document| document.object).collect())
}

/// The same, with the file of each object.
///
/// # Errors
/// If a file cannot be read or parsed.
pub(crate) fn documents(files: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for file in files {
        let text = text(file)?;
        let objects = parse(&text).with_context(|| format!("{} is not valid YAML; correct it", file.display()))?;
        let file = if file == Path::new("-") { "standard input".into() } else { file.display().to_string() };
        documents.extend(objects.into_iter().map(|object| Document { file: file.clone(), object }));
    }
    Ok(documents)
}

/// The text of a file; the path `-` means standard input.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn text(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file)
        .with_context(|| format!("cannot read {}; check its path and permissions", file.display()))
}

fn parse(text: &str) -> anyhow::Result<Vec<Value>> {
    // An error is one sentence with the line, without an excerpt of the file.
    let options = serde_saphyr::options! { with_snippet: false };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)?;
    let mut objects = Vec::new();
    for document in documents {
        match document {
            Value::Null => {}
            Value::Object(mut object) => match object.remove("items") {
                Some(Value::Array(items)) => objects.extend(items),
                Some(items) => bail!("items must be a list, but is {items}"),
                None => objects.push(Value::Object(object)),
            },
            other => bail!("a manifest must be an object, but is {other}"),
        }
    }
    Ok(objects)
}

/// The objects of one kind of this operator.
///
/// # Errors
/// If an object of this kind has wrong fields. The error names it.
pub(crate) fn of_kind<T: DeserializeOwned>(objects: &[Value], kind: &str) -> anyhow::Result<Vec<T>> {
    let is_kind = |object: &&Value| {
        let group = object["apiVersion"].as_str().unwrap_or_default();
        object["kind"] == kind && group.starts_with("vpcpeering.dev/")
    };
    let decode = |object: &Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or("without a name");
        serde_json::from_value(object.clone()).with_context(|| format!("the {kind} {name} has wrong fields"))
    };
    objects.iter().filter(is_kind).map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::VpcPeering;

    #[test]
    fn documents_and_lists_are_read() -> anyhow::Result<()> {
        let text = "kind: A\n---\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n";
        let kinds: Vec<_> = parse(text)?.iter().map(|object| object["kind"].clone()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert!(parse("just text").is_err() && parse("a: [").is_err());
        Ok(())
    }

    #[test]
    fn an_object_with_wrong_fields_is_named() -> anyhow::Result<()> {
        let text = "apiVersion: vpcpeering.dev/v1alpha1\nkind: VpcPeering\nmetadata: {name: a}\nspec: {requester: 1}\n";
        let error = of_kind::<VpcPeering>(&parse(text)?, "VpcPeering").err();
        assert!(error.is_some_and(|error| error.to_string() == "the VpcPeering a has wrong fields"));
        assert!(of_kind::<VpcPeering>(&parse("apiVersion: v1\nkind: VpcPeering\n")?, "VpcPeering")?.is_empty());
        Ok(())
    }
}
