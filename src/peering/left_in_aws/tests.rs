use super::*;
use crate::api::Side;

fn through(id: &str, count: usize) -> impl Iterator<Item = ManagedRoute> {
    (0..count).map(move |number| ManagedRoute {
        side: Side::Requester,
        route_table_id: "rtb-1".into(),
        destination_cidr_block: Some(format!("10.{number}.0.0/16")),
        destination_prefix_list_id: None,
        vpc_peering_connection_id: id.into(),
    })
}

#[test]
fn five_routes_of_each_connection_are_listed_and_the_others_counted() {
    let all = through("pcx-1", 5).chain(through("pcx-2", 7)).collect();
    let five = "10.0.0.0/16 in rtb-1, 10.1.0.0/16 in rtb-1, 10.2.0.0/16 in rtb-1, 10.3.0.0/16 in rtb-1, \
                10.4.0.0/16 in rtb-1";
    let expected = [format!("routes through pcx-1: {five}"), format!("routes through pcx-2: {five}, and 2 more")];
    assert_eq!(routes(&all), expected);
}

#[test]
fn a_connection_is_left_with_its_ownership_tags_and_the_tags_of_the_spec() {
    let tag = |key: &str| ManagedTag { key: key.into(), value: "x".into() };
    // Both ends may have the same tag.
    let tags = [tag("Team"), tag("Name"), tag("Team")];
    assert_eq!(connection("pcx-1", "vpcpeering.dev/", &tags), "pcx-1 with the tags vpcpeering.dev/*, Name, Team");
}
