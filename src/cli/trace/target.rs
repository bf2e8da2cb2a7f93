//! The arguments of a trace: the resource and the two addresses.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, bail, ensure};

use crate::peering::network::{Flow, Protocol};

/// Splits `NAMESPACE/NAME`. Without a namespace, that of the context is used.
///
/// # Errors
/// If a part is empty.
pub(super) fn resource<'a>(text: &'a str, default_namespace: &'a str) -> anyhow::Result<(&'a str, &'a str)> {
    let (namespace, name) = text.split_once('/').unwrap_or((default_namespace, text));
    ensure!(
        !namespace.is_empty() && !name.is_empty() && !name.contains('/'),
        "{text:?} does not name a VpcPeering; write NAMESPACE/NAME"
    );
    Ok((namespace, name))
}

/// The flow from one address to another.
///
/// # Errors
/// If an address is not valid, or both do not fit. The error names the flag.
pub(super) fn flow(from: &str, to: &str, protocol: Protocol) -> anyhow::Result<Flow> {
    let from = from.parse::<IpAddr>();
    let from = from.with_context(|| "--from is not an IP address; write for example --from 10.1.0.5".to_owned())?;
    let (to, port) = match (to.parse::<SocketAddr>(), to.parse::<IpAddr>()) {
        (Ok(address), _) => (address.ip(), Some(address.port())),
        (_, Ok(address)) => (address, None),
        _ => bail!(
            "--to {to:?} is neither an IP address nor one with a port; write for example --to 10.2.0.5:443 or --to [2001:db8::5]:443"
        ),
    };
    ensure!(from.is_ipv4() == to.is_ipv4(), "--from {from} and --to {to} must both be IPv4 or both IPv6");
    ensure!(from != to, "--from and --to are both {to}; name an address of each VPC");
    ensure!(port.is_none() || protocol != Protocol::Icmp, "--to: icmp has no ports; write --to {to}");
    Ok(Flow { from, to, protocol, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_has_a_namespace_and_a_name() -> anyhow::Result<()> {
        assert_eq!(resource("team/orders", "default")?, ("team", "orders"));
        assert_eq!(resource("orders", "default")?, ("default", "orders"));
        for text in ["", "/", "team/", "/orders", "a/b/c"] {
            assert!(
                resource(text, "default").is_err_and(|error| error.to_string().contains("NAMESPACE/NAME")),
                "{text}"
            );
        }
        Ok(())
    }

    #[test]
    fn an_address_may_have_a_port() -> anyhow::Result<()> {
        for (from, to, protocol, expected) in [
            ("10.1.0.5", "10.2.0.5", Protocol::Tcp, "tcp from 10.1.0.5 to 10.2.0.5"),
            ("10.1.0.5", "10.2.0.5:53", Protocol::Udp, "udp from 10.1.0.5 to 10.2.0.5 port 53"),
            ("2001:db8::1", "[2001:db8::2]:443", Protocol::Tcp, "tcp from 2001:db8::1 to 2001:db8::2 port 443"),
            ("10.1.0.5", "10.2.0.5", Protocol::Icmp, "icmp from 10.1.0.5 to 10.2.0.5"),
        ] {
            assert_eq!(flow(from, to, protocol)?.to_string(), expected);
        }
        for (from, to, protocol, message) in [
            ("10.1.0", "10.2.0.5", Protocol::Tcp, "--from is not an IP address"),
            ("10.1.0.5:80", "10.2.0.5", Protocol::Tcp, "--from is not an IP address"),
            ("10.1.0.5", "orders.example.com", Protocol::Tcp, "--to \"orders.example.com\""),
            ("10.1.0.5", "10.2.0.5:99999", Protocol::Tcp, "--to \"10.2.0.5:99999\""),
            ("10.1.0.5", "2001:db8::2", Protocol::Tcp, "must both be IPv4 or both IPv6"),
            ("10.1.0.5", "10.1.0.5", Protocol::Tcp, "an address of each VPC"),
            ("10.1.0.5", "10.2.0.5:80", Protocol::Icmp, "icmp has no ports"),
        ] {
            let refused = flow(from, to, protocol).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(refused.contains(message), "{from} {to}: {refused}");
        }
        Ok(())
    }
}
