//! Other programs' FORWARD policy.
//!
//! A chain of the firewall that drops what it does not know drops our containers' traffic too: accepting it in our own
//! table does not overrule it. Where iptables (a stopped dockerd, say) has left the policy DROP, the smallest accept goes
//! to the end of that chain: two rules for our bridge, behind all of the operator's own, marked by a comment so that we
//! find them again. What may pass is decided in our own table. Native tables of the operator are policy, and left alone.

use rorqual_netlink::{
    Socket,
    nft::{self, Expression as E, Family, Field, Hook, RuleAt, Table, Verdict},
    socket,
};

const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";

/// The comment on our rules, in the form iptables and nft print.
fn mark(bridge: &str) -> Vec<u8> {
    let text = format!("rorqual:{bridge}");
    // Type 0 is a comment; its length counts the NUL.
    let mut bytes = vec![0, u8::try_from(text.len() + 1).expect("a link's name is at most 15 bytes")];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Puts our rules where a policy drops, and takes them away where none does any more. Returns whether any chain changed.
pub(crate) fn ensure(socket: &mut Socket, bridge: &str) -> socket::Result<bool> {
    let mut changed = false;
    for family in [Family::Ip, Family::Ip6] {
        let chains = nft::list_chains(socket, family)?;
        let chain =
            chains.iter().find(|c| c.table == TABLE && c.name == CHAIN && c.hook == Some(Hook::Forward.number()));
        let Some(chain) = chain else { continue };
        let wanted = if chain.drops { 2 } else { 0 };
        let ours = our_rules(socket, family, bridge)?;
        if ours.len() == wanted {
            continue;
        }
        changed = true;
        let table = Table { family, name: TABLE };
        let mut requests: Vec<_> = ours.iter().map(|handle| nft::delete_rule(table, CHAIN, *handle)).collect();
        if wanted > 0 {
            for field in [Field::InLink, Field::OutLink] {
                let rule = [
                    E::Load(field, 0),
                    E::Compare(0, true, E::link_name(bridge)),
                    E::Counter,
                    E::Verdict(Verdict::Accept),
                ];
                requests.push(nft::add_rule(table, CHAIN, RuleAt::End, &rule, &mark(bridge)));
            }
        }
        socket.transaction(requests)?;
    }
    Ok(changed)
}

/// Takes our rules away.
pub(crate) fn remove(socket: &mut Socket, bridge: &str) -> socket::Result<()> {
    for family in [Family::Ip, Family::Ip6] {
        let table = Table { family, name: TABLE };
        let ours = our_rules(socket, family, bridge)?;
        let requests: Vec<_> = ours.iter().map(|handle| nft::delete_rule(table, CHAIN, *handle)).collect();
        if !requests.is_empty() {
            socket.transaction(requests)?;
        }
    }
    Ok(())
}

fn our_rules(socket: &mut Socket, family: Family, bridge: &str) -> socket::Result<Vec<u64>> {
    let mark = mark(bridge);
    let rules = nft::list_rules(socket, family, TABLE, CHAIN)?;
    Ok(rules.into_iter().filter(|rule| rule.user_data == mark).map(|rule| rule.handle).collect())
}
