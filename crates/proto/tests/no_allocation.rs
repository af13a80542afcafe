//! What protects messages in place asks for no memory once its first message has gone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod context_pairs;

use allocation_counter::measure;
use context_pairs::{ETYPES, kerberos, ntlm};
use countersign_proto::context::SecurityContext;
use countersign_proto::krb5::per_message::Confidentiality::Sealed;
use countersign_proto::krb5::per_message::Layout;
use countersign_testkit::TestRng;

const LENGTH: usize = 4_096;
const MESSAGES: usize = 20;

fn contexts() -> Vec<(SecurityContext, SecurityContext)> {
    ETYPES.into_iter().map(kerberos).chain([ntlm()]).collect()
}

/// Sends a message through `buffer`, which is longer than any layout needs.
fn pass(from: &mut SecurityContext, to: &mut SecurityContext, split: bool, buffer: &mut [u8]) {
    let (sender, mut rng) = (from.sender(), TestRng::new(2));
    let Layout { prefix, trailer } =
        if split { sender.split_layout(Sealed, LENGTH) } else { sender.layout(Sealed, LENGTH) };
    let token = buffer.get_mut(..prefix.saturating_add(LENGTH).saturating_add(trailer)).unwrap();
    if split {
        sender.wrap_split_in_place(Sealed, token, &mut rng).unwrap();
    } else {
        sender.wrap_in_place(Sealed, token, &mut rng).unwrap();
    }
    let opened = to.receiver().unwrap_in_place(token).unwrap();
    assert_eq!(opened.plaintext.len(), LENGTH);
}

#[test]
fn sealing_and_opening_in_place_allocate_nothing_by_any_mechanism_or_layout() {
    let mut buffer = vec![0; 2 * LENGTH];
    for (mut initiator, mut acceptor) in contexts() {
        for split in [false, true] {
            pass(&mut initiator, &mut acceptor, split, &mut buffer);
            pass(&mut acceptor, &mut initiator, split, &mut buffer);
            let used = measure(|| {
                for _ in 0..MESSAGES {
                    pass(&mut initiator, &mut acceptor, split, &mut buffer);
                    pass(&mut acceptor, &mut initiator, split, &mut buffer);
                }
            });
            assert_eq!(used.count_total, 0, "{} {split}", initiator.facts().protection());
        }
    }
}

#[test]
fn sealing_into_a_buffer_that_is_kept_allocates_nothing() {
    let plaintext = vec![0; LENGTH];
    for (mut initiator, _) in contexts() {
        let (mut out, mut rng) = (Vec::new(), TestRng::new(2));
        initiator.sender().wrap(Sealed, &plaintext, &mut rng, &mut out).unwrap();
        let used = measure(|| {
            for _ in 0..MESSAGES {
                out.clear();
                initiator.sender().wrap(Sealed, &plaintext, &mut rng, &mut out).unwrap();
            }
        });
        assert_eq!(used.count_total, 0, "{}", initiator.facts().protection());
    }
}

#[test]
fn the_counter_sees_an_allocation() {
    assert_eq!(measure(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(8)))).count_total, 1);
}
