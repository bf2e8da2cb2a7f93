//! The changes that others make in AWS.

use anyhow::{Context, Result};
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::types::{PeeringConnectionOptionsRequest, Tag};

use crate::action::Foreign;
use crate::resources::{End, FRIEND, OWN, REGION, Resource, Scenario};
use crate::world::World;

/// The target of foreign routes.
const GATEWAY: &str = "igw-0123456789abcdef0";
/// The key of foreign tags.
pub const FOREIGN_TAG: &str = "note";

impl World {
    /// Makes a change. Returns false if there was nothing to change.
    pub async fn change_aws(&self, resource: Resource, foreign: Foreign) -> Result<bool> {
        let home = resource.home();
        let ec2 = self.ec2(home.account, home.region)?;
        match foreign {
            Foreign::Peering => return self.make_foreign_peering(resource).await,
            Foreign::Request(which) => return self.request(resource, &resource.friend(which), true).await,
            Foreign::Unwanted => return self.request(resource, &resource.enemy(), false).await,
            Foreign::ReplaceRoute => {
                return self.replace_route(ec2, &home.table, &resource.accepter().block).await;
            }
            Foreign::RestoreRoute => return self.remove_route(ec2, &home.table, &resource.accepter().block).await,
            Foreign::AddRoute => {
                let destination = format!("172.16.{}.0/24", resource.0 % 256);
                return self.add_route(ec2, &home.table, &destination, None).await;
            }
            _ => {}
        }
        let Some(connection) = self.connection(resource).await? else { return Ok(false) };
        let id = connection.id.as_str();
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let is_done = match foreign {
            Foreign::Accept => {
                let ec2 = self.ec2(FRIEND, REGION)?;
                ec2.accept_vpc_peering_connection().vpc_peering_connection_id(id).send().await.is_ok()
            }
            Foreign::Reject => {
                let ec2 = self.ec2(FRIEND, REGION)?;
                ec2.reject_vpc_peering_connection().vpc_peering_connection_id(id).send().await.is_ok()
            }
            Foreign::DeleteConnection => {
                ec2.delete_vpc_peering_connection().vpc_peering_connection_id(id).send().await.is_ok()
            }
            Foreign::DeleteRoute => self.delete_route(ec2, &home.table, &resource.accepter().block).await.is_ok(),
            Foreign::RemoveTag => {
                ec2.delete_tags().resources(id).tags(Tag::builder().key("soak").build()).send().await.is_ok()
            }
            Foreign::ChangeTag => ec2.create_tags().resources(id).tags(tag("soak", "changed")).send().await.is_ok(),
            Foreign::AddTag => {
                let key = (id.to_owned(), FOREIGN_TAG.to_owned());
                let is_done = ec2.create_tags().resources(id).tags(tag(FOREIGN_TAG, "mine")).send().await.is_ok();
                if is_done {
                    self.ledger().tags.insert(key, "mine".to_owned());
                }
                is_done
            }
            Foreign::RemoveOwnership => {
                let keys = ["cluster", "namespace", "name", "uid"].map(|key| format!("vpcpeering.dev/{key}"));
                let tags = keys.map(|key| Tag::builder().key(key).build());
                ec2.delete_tags().resources(id).set_tags(Some(tags.to_vec())).send().await.is_ok()
            }
            Foreign::FlipOptions => {
                let off =
                    PeeringConnectionOptionsRequest::builder().allow_dns_resolution_from_remote_vpc(false).build();
                let call = ec2.modify_vpc_peering_connection_options().vpc_peering_connection_id(id);
                let call = if resource.scenario() == Scenario::Accepter {
                    call.accepter_peering_connection_options(off)
                } else {
                    call.requester_peering_connection_options(off)
                };
                call.send().await.is_ok()
            }
            _ => false,
        };
        Ok(is_done)
    }

    /// Deletes the connection that a deleted resource has retained, as a person does before the VPCs are peered anew.
    pub async fn delete_retained(&self, resource: Resource) -> Result<()> {
        if resource.scenario() == Scenario::Retained
            && let Some(connection) = self.connection(resource).await?
        {
            let ec2 = self.ec2(OWN, REGION)?;
            for end in [resource.requester(), resource.accepter()] {
                let other = if end == resource.requester() { resource.accepter() } else { resource.requester() };
                // The routes stay in AWS, too.
                _ = self.delete_route(ec2, &end.table, &other.block).await;
            }
            ec2.delete_vpc_peering_connection().vpc_peering_connection_id(connection.id).send().await?;
        }
        Ok(())
    }

    /// Deletes the routes of a resource through connections that EC2 no longer shows, as the condition `RouteConflict`
    /// asks a person to do. Returns their number.
    pub async fn delete_routes_by_hand(&self, resource: Resource) -> Result<usize> {
        let snapshot = self.snapshot().await?;
        let mut deleted = 0;
        for end in [resource.requester(), resource.accepter()] {
            let ec2 = self.ec2(end.account, end.region)?;
            let is_shown = |id: &str| snapshot.peerings.iter().any(|peering| peering.id == id && peering.is_shown);
            let of_end = snapshot.routes.iter().filter(|route| route.table == end.table);
            for route in of_end.filter(|route| route.target.starts_with("pcx-") && !is_shown(&route.target)) {
                self.delete_route(ec2, &end.table, &route.destination).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// An active connection of somebody else, with a tag and a route.
    async fn make_foreign_peering(&self, resource: Resource) -> Result<bool> {
        let (home, bystander) = (resource.home(), resource.bystander());
        if self.snapshot().await?.living(&home.vpc, &bystander.vpc).next().is_some() {
            return Ok(false);
        }
        let ec2 = self.ec2(home.account, home.region)?;
        let answer = ec2.create_vpc_peering_connection().vpc_id(&home.vpc).peer_vpc_id(&bystander.vpc).send().await?;
        let id = answer.vpc_peering_connection.and_then(|connection| connection.vpc_peering_connection_id);
        let id = id.context("no ID")?;
        let tags = [(FOREIGN_TAG.to_owned(), "foreign".to_owned())];
        let tag = Tag::builder().key(FOREIGN_TAG).value("foreign").build();
        ec2.create_tags().resources(&id).tags(tag).send().await?;
        environment::eventually("a foreign connection", std::time::Duration::from_secs(10), async || {
            ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
            Ok(())
        })
        .await?;
        self.ledger().peerings.insert(id.clone(), tags.into());
        self.add_route(ec2, &home.table, &bystander.block, Some(&id)).await
    }

    /// Asks a `VpcPeeringAccepter`, once at a time from each VPC.
    async fn request(&self, resource: Resource, from: &End, is_wanted: bool) -> Result<bool> {
        let to = resource.accepter();
        if self.snapshot().await?.living(&from.vpc, &to.vpc).next().is_some() {
            return Ok(false);
        }
        let call = self.ec2(from.account, from.region)?.create_vpc_peering_connection();
        let call = call.vpc_id(&from.vpc).peer_vpc_id(&to.vpc).peer_owner_id(to.account);
        let answer = call.send().await?;
        let id = answer.vpc_peering_connection.and_then(|connection| connection.vpc_peering_connection_id);
        if !is_wanted {
            self.ledger().unwanted.insert(id.context("no ID")?);
        }
        Ok(true)
    }

    /// Adds a foreign route, through a connection or to a gateway. Returns false if there is a route already.
    async fn add_route(&self, ec2: &Ec2, table: &str, destination: &str, through: Option<&str>) -> Result<bool> {
        let call = ec2.create_route().route_table_id(table).destination_cidr_block(destination);
        let call = match through {
            Some(id) => call.vpc_peering_connection_id(id),
            None => call.gateway_id(GATEWAY),
        };
        if call.send().await.is_err() {
            return Ok(false);
        }
        let value = (through.unwrap_or(GATEWAY).to_owned(), self.now());
        self.ledger().routes.insert((table.to_owned(), destination.to_owned()), value);
        Ok(true)
    }

    /// Lets the route to a destination lead to a gateway, in one call if there is a route.
    async fn replace_route(&self, ec2: &Ec2, table: &str, destination: &str) -> Result<bool> {
        let call = ec2.replace_route().route_table_id(table).destination_cidr_block(destination).gateway_id(GATEWAY);
        if call.send().await.is_err() {
            return self.add_route(ec2, table, destination, None).await;
        }
        let value = (GATEWAY.to_owned(), self.now());
        self.ledger().routes.insert((table.to_owned(), destination.to_owned()), value);
        Ok(true)
    }

    async fn remove_route(&self, ec2: &Ec2, table: &str, destination: &str) -> Result<bool> {
        let is_foreign = self.ledger().routes.contains_key(&(table.to_owned(), destination.to_owned()));
        if is_foreign {
            self.delete_route(ec2, table, destination).await?;
        }
        Ok(is_foreign)
    }

    /// Deletes a route. If it was a foreign one, the operator may have its own again.
    async fn delete_route(&self, ec2: &Ec2, table: &str, destination: &str) -> Result<()> {
        ec2.delete_route().route_table_id(table).destination_cidr_block(destination).send().await?;
        self.ledger().routes.remove(&(table.to_owned(), destination.to_owned()));
        Ok(())
    }
}
