//! Where a link may lead: https, and a public address, unless the operator allows otherwise.
//!
//! A link comes from outside, and whoever chooses it must not choose what this host talks to inside its own network. A literal
//! address is checked in the link and in every redirect; a name is checked where it is resolved, on the very addresses that are
//! then connected to, so a name that changes its mind between two look-ups gains nothing. Behind a proxy the proxy resolves names,
//! and what it lets through is its operator's decision; the proxy's own name may lead to a private address, as most do, and
//! therefore no link may name it.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Url, redirect};

/// Redirects that a download follows.
pub const REDIRECTS_MAX: usize = 5;

/// What an operator can do about a link that is forbidden for the sake of safety alone.
const IN_HOUSE: &str = "; set api.allow_insecure if the API is in your own network";

/// How far links may lead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reach {
    /// https to public addresses, and not to the proxies themselves.
    Public(Proxies),
    /// Anything; `api.allow_insecure`.
    Anywhere,
}

/// The hosts of the proxies that requests may go through. The HTTP library asks one resolver for them and for the hosts of links,
/// so these names alone are resolved to wherever they lead, and no link may lead to them. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Proxies(Arc<[String]>);

impl Proxies {
    /// Reads the values of proxy variables: `http://proxy.corp:3128`, or the same without a scheme. What is no address is left
    /// out, and so is no proxy for the HTTP library either.
    pub fn from_values(values: impl IntoIterator<Item = OsString>) -> Self {
        let host = |value: OsString| {
            let value = value.into_string().ok()?;
            let address = if value.contains("://") { value } else { format!("http://{value}") };
            Some(Url::parse(&address).ok()?.host_str()?.to_ascii_lowercase())
        };
        Self(values.into_iter().filter_map(host).collect())
    }

    fn has(&self, host: &str) -> bool {
        self.0.iter().any(|proxy| proxy.eq_ignore_ascii_case(host))
    }
}

/// Why a link is not followed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Forbidden {
    /// Not a URL with a host.
    #[error("it is not a web address")]
    Malformed,
    /// `http` where it is not allowed, and might be.
    #[error("it is not https{IN_HOUSE}")]
    Plain,
    /// Anything else that is not https.
    #[error("it is not https")]
    Scheme,
    /// Name and password in the address.
    #[error("it holds a user name or a password")]
    Credentials,
    /// A private, local or otherwise special address.
    #[error("it leads to {0}, which is not a public address{hint}", hint = if is_in_house(*.0) { IN_HOUSE } else { "" })]
    Private(IpAddr),
    /// The proxy itself.
    #[error("it leads to the proxy itself")]
    Proxy,
    /// On and on, perhaps in a circle.
    #[error("it redirects more than {REDIRECTS_MAX} times")]
    Redirects,
}

/// Reads a link that may be followed.
///
/// # Errors
/// The rule that forbids it.
pub fn allowed(link: &str, reach: &Reach) -> Result<Url, Forbidden> {
    let url = Url::parse(link).map_err(|_| Forbidden::Malformed)?;
    check(&url, reach)?;
    Ok(url)
}

fn check(url: &Url, reach: &Reach) -> Result<(), Forbidden> {
    match (url.scheme(), reach) {
        ("https", _) | ("http", Reach::Anywhere) => {}
        ("http", Reach::Public(_)) if private_literal(url).is_none_or(is_in_house) => return Err(Forbidden::Plain),
        (_, Reach::Public(_) | Reach::Anywhere) => return Err(Forbidden::Scheme),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Forbidden::Credentials);
    }
    let host = url.host_str().ok_or(Forbidden::Malformed)?;
    match (private_literal(url), reach) {
        (_, Reach::Anywhere) => Ok(()),
        (Some(address), Reach::Public(_)) => Err(Forbidden::Private(address)),
        (None, Reach::Public(proxies)) if proxies.has(host) => Err(Forbidden::Proxy),
        (None, Reach::Public(_)) => Ok(()),
    }
}

/// The address that stands in the URL in place of a name, if there is one and it is not public.
pub fn private_literal(url: &Url) -> Option<IpAddr> {
    // The parser has turned every notation of an IPv4 address (hexadecimal, one number, …) into the dotted one.
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    host.parse().ok().filter(|address| !is_public(*address))
}

/// Follows a few redirects, each checked like the link itself.
pub(super) fn redirects(reach: Reach) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| match (check(attempt.url(), &reach), attempt.previous().len()) {
        (Err(forbidden), _) => attempt.error(forbidden),
        (Ok(()), hops) if hops > REDIRECTS_MAX => attempt.error(Forbidden::Redirects),
        (Ok(()), _) => attempt.follow(),
    })
}

/// Resolves names by the system's resolver, and knows public addresses alone, but for the proxies' names.
#[derive(Clone, Debug)]
pub(super) struct PublicNames {
    /// Resolved to wherever they lead; a link to one of them is refused before it gets here.
    pub(super) proxies: Proxies,
}

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        let is_proxy = self.proxies.has(name.as_str());
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if is_proxy { Ok(Box::new(found.into_iter()) as Addrs) } else { Ok(public_only(found)?) }
        })
    }
}

fn public_only(found: Vec<SocketAddr>) -> Result<Addrs, Forbidden> {
    let (public, private): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| is_public(address.ip()));
    match (public.is_empty(), private.first()) {
        (true, Some(address)) => Err(Forbidden::Private(address.ip())),
        (true, None) | (false, _) => Ok(Box::new(public.into_iter())),
    }
}

/// Whether an address is one of the public internet: not private, local, shared, reserved, for documentation, multicast, nor an
/// IPv6 form of such an IPv4 address (the registries of special-purpose addresses, RFC 6890 and after).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Whether an address is one that an API of one's own may have. A link to any other is an attack or a mistake, and the advice to
/// follow it would be a bad one: a cloud's metadata are at such an address.
fn is_in_house(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_private() || address.is_loopback() || matches!(address.octets(), [100, 64..=127, ..])
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback(),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18..=19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match [a, b, c, d, e, f] {
        // Mapped, and translated by NAT64: what counts is the IPv4 address inside.
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => v4(g, h),
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        // Protocol assignments (Teredo among them), documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        let private = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2001:db8::1",
            "2001::1",
            "2002:a00:1::",
            "100::1",
            "3fff::1",
        ];
        for address in private {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::",
            "2001:4860::8888",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_link_leads_to_https_and_a_public_address_only() {
        let private = |text: &str| Err(Forbidden::Private(text.parse().unwrap()));
        let cases = [
            ("https://cdn.example/v?sig=1", Ok(())),
            ("https://cdn.example:8443/v", Ok(())),
            ("https://8.8.8.8/v", Ok(())),
            ("http://cdn.example/v", Err(Forbidden::Plain)),
            ("ftp://cdn.example/v", Err(Forbidden::Scheme)),
            ("file:///etc/passwd", Err(Forbidden::Scheme)),
            ("https://user:word@cdn.example/v", Err(Forbidden::Credentials)),
            ("https://127.0.0.1/v", private("127.0.0.1")),
            ("https://2130706433/v", private("127.0.0.1")),
            ("https://0x7f.1/v", private("127.0.0.1")),
            ("https://[::1]:9/v", private("::1")),
            ("https://[::ffff:a00:1]/v", private("::ffff:10.0.0.1")),
            ("nonsense", Err(Forbidden::Malformed)),
        ];
        let public = Reach::Public(Proxies::default());
        for (link, expected) in cases {
            assert_eq!(allowed(link, &public).map(|_| ()), expected, "{link}");
        }
        assert!(allowed("http://127.0.0.1:1/v", &Reach::Anywhere).is_ok());
        assert_eq!(allowed("file:///etc/passwd", &Reach::Anywhere), Err(Forbidden::Scheme));
    }

    #[test]
    fn the_setting_that_lets_a_link_pass_is_named_only_where_it_is_no_trap() {
        let told = |link: &str| allowed(link, &Reach::Public(Proxies::default())).unwrap_err().to_string();
        for link in [
            "http://cdn.example/v",
            "https://10.0.0.1/v",
            "https://172.16.0.1/v",
            "https://127.0.0.1/v",
            "https://100.64.0.1/v",
            "https://[fd00::1]/v",
            "https://[::1]/v",
            "https://[::ffff:192.168.0.1]/v",
        ] {
            assert!(told(link).ends_with("; set api.allow_insecure if the API is in your own network"), "{link}");
        }
        for link in [
            "https://169.254.169.254/v",
            "http://169.254.169.254/v",
            "https://0.0.0.0/v",
            "https://203.0.113.1/v",
            "https://[fe80::1]/v",
            "https://[64:ff9b::a9fe:a9fe]/v",
            "ftp://cdn.example/v",
            "https://user:word@cdn.example/v",
        ] {
            assert!(!told(link).contains("allow_insecure"), "{link}");
        }
    }

    #[test]
    fn a_name_keeps_its_public_addresses_alone() {
        let (public, private) = ("8.8.8.8:0".parse().unwrap(), "10.0.0.1:0".parse().unwrap());
        let kept: Vec<_> = public_only(vec![private, public]).ok().unwrap().collect();
        assert_eq!(kept, [public]);
        assert_eq!(public_only(vec![private]).err(), Some(Forbidden::Private("10.0.0.1".parse().unwrap())));
    }

    fn proxies(values: &[&str]) -> Proxies {
        Proxies::from_values(values.iter().map(Into::into))
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_resolved_for_the_proxy_alone() {
        let resolve = async |proxies| PublicNames { proxies }.resolve("localhost".parse().unwrap()).await;
        for other in [proxies(&[]), proxies(&["http://proxy.corp:3128"]), proxies(&["http://my.localhost:7890"])] {
            let found = resolve(other).await;
            assert!(matches!(found.err().unwrap().downcast_ref(), Some(Forbidden::Private(_))));
        }
        let found = resolve(proxies(&["http://LocalHost:7890"])).await.ok().unwrap();
        assert!(found.into_iter().any(|address| address.ip().is_loopback()));
    }

    #[test]
    fn the_hosts_of_proxies_are_read_from_what_variables_hold() {
        let cases = [
            ("http://proxy.corp:3128", "proxy.corp"),
            ("http://me:word@Proxy.corp:3128/", "proxy.corp"),
            ("proxy.corp:3128", "proxy.corp"),
            ("localhost:7890", "localhost"),
            ("me:word@proxy.corp", "proxy.corp"),
            ("socks5h://Proxy.corp:1080", "proxy.corp"),
            ("http://10.0.0.9:3128", "10.0.0.9"),
        ];
        for (value, host) in cases {
            assert_eq!(*proxies(&[value]).0, [host.to_owned()], "{value}");
        }
        assert_eq!(proxies(&["", "http://", "http://:80"]), Proxies::default());
    }

    #[test]
    fn no_link_leads_to_the_proxy() {
        let reach = Reach::Public(proxies(&["http://proxy.corp:3128", "http://8.8.8.8"]));
        for link in ["https://proxy.corp/v", "https://PROXY.corp:3128/v", "https://prox%79.corp/v", "https://8.8.8.8/v"]
        {
            assert_eq!(allowed(link, &reach).err(), Some(Forbidden::Proxy), "{link}");
        }
        assert!(allowed("https://cdn.proxy.corp/v", &reach).is_ok());
        assert!(allowed("http://proxy.corp/v", &Reach::Anywhere).is_ok());
    }
}
