//! Channel bindings at the acceptor.

use countersign_proto::error::{Code, code};
use countersign_proto::gss::{BindingsHash, ChannelBindings};
use countersign_proto::krb5::facts::BindingsState;
use countersign_proto::krb5::msg::authorization_data::ad_type;
use countersign_testkit::mint::{ApReq, FLAGS, Mint, authorization_data, gss_checksum};
use countersign_testkit::pair::{Service, acceptor_policy};

fn channel(name: &str) -> ChannelBindings {
    ChannelBindings::from_application_data(format!("tls-server-end-point:{name}").into_bytes())
}

fn service(bound_to: Option<&str>, require_channel_bindings: bool) -> Service {
    let policy = acceptor_policy(|policy| {
        policy.channel_bindings = bound_to.map(channel).into_iter().collect();
        policy.require_channel_bindings = require_channel_bindings;
    });
    Service::new(&Mint::default(), policy)
}

/// An AP-REQ bound to a channel, or to none, that says in its AP options whether its client does channel binding.
fn request(bound_to: Option<&str>, asserted: bool) -> ApReq {
    let mut request = Mint::default().ap_req();
    let hash = bound_to.map_or(BindingsHash::NONE, |name| channel(name).hash());
    request.authenticator.checksum = Some(gss_checksum(hash, FLAGS));
    if asserted {
        let options = 0x4000_u32.to_le_bytes();
        request.authenticator.authorization_data =
            Some(authorization_data::if_relevant(&[(ad_type::KERB_AP_OPTIONS, &options)]));
    }
    request
}

fn accepts(service: &mut Service, request: &ApReq) -> BindingsState {
    service.offer(&request.token()).accepted().0.facts().bindings()
}

fn refuses(mut service: Service, request: &ApReq, code: Code) {
    service.refuses(request, code, 60);
}

// weakness 9
#[test]
fn a_client_bound_to_another_channel_is_refused() {
    refuses(service(Some("a"), false), &request(Some("b"), false), code::CHANNEL_BINDINGS_MISMATCH);
    refuses(service(Some("a"), true), &request(Some("b"), true), code::CHANNEL_BINDINGS_MISMATCH);
}

#[test]
fn a_hash_that_differs_in_one_bit_is_another_channel() {
    for bit in 0..128 {
        let mut hash = channel("a").hash();
        if let Some(byte) = hash.0.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        let mut request = request(None, false);
        request.authenticator.checksum = Some(gss_checksum(hash, FLAGS));
        refuses(service(Some("a"), false), &request, code::CHANNEL_BINDINGS_MISMATCH);
    }
}

#[test]
fn a_client_bound_to_the_same_channel_is_accepted() {
    for required in [false, true] {
        for asserted in [false, true] {
            let state = accepts(&mut service(Some("a"), required), &request(Some("a"), asserted));
            assert_eq!(state, BindingsState::Matched);
        }
    }
}

/// A service behind several certificates, as while one takes the place of another.
#[test]
fn a_client_may_be_bound_to_any_of_several_channels_and_to_no_other() {
    let several = || {
        let policy = acceptor_policy(|policy| {
            policy.channel_bindings = ["a", "b", "c"].map(channel).to_vec();
            policy.require_channel_bindings = true;
        });
        Service::new(&Mint::default(), policy)
    };
    for name in ["a", "b", "c"] {
        assert_eq!(accepts(&mut several(), &request(Some(name), true)), BindingsState::Matched, "{name}");
    }
    refuses(several(), &request(Some("d"), true), code::CHANNEL_BINDINGS_MISMATCH);
    refuses(several(), &request(None, false), code::CHANNEL_BINDINGS_MISSING);
}

#[test]
fn a_client_bound_to_nothing_is_accepted_unless_policy_or_the_client_itself_demands_it() {
    let state = accepts(&mut service(Some("a"), false), &request(None, false));
    assert_eq!(state, BindingsState::AbsentAtInitiator);
    refuses(service(Some("a"), true), &request(None, false), code::CHANNEL_BINDINGS_MISSING);
    refuses(service(Some("a"), false), &request(None, true), code::CHANNEL_BINDINGS_MISSING);
}

#[test]
fn an_acceptor_without_a_channel_compares_nothing() {
    for bound_to in [None, Some("b")] {
        for asserted in [false, true] {
            let state = accepts(&mut service(None, false), &request(bound_to, asserted));
            assert_eq!(state, BindingsState::NotCompared);
        }
    }
}

#[test]
fn the_target_flag_among_the_ap_options_asserts_no_channel_binding() {
    let mut request = request(None, false);
    let options = (!0x4000_u32).to_le_bytes();
    request.authenticator.authorization_data =
        Some(authorization_data::if_relevant(&[(ad_type::KERB_AP_OPTIONS, &options)]));
    assert_eq!(accepts(&mut service(Some("a"), false), &request), BindingsState::AbsentAtInitiator);
}
