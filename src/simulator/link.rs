//! Signed links that expire, shaped like those of the vendor's CDN.
//!
//! The second segment of the path is the expiry as unix time in hex, there is no `.mp4` in the path, and the query tells
//! the type, the time of signing and the request that asked for it. Each signing makes another link; each stays good until
//! its own expiry.

use sha2::{Digest, Sha256};

/// The first segment of every link's path.
pub(super) const ROOT: &str = "/files/";

/// Signs and checks links.
#[derive(Clone)]
pub(super) struct Signer {
    secret: [u8; 32],
}

/// Why a link is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// Not one of ours, or touched on its way.
    Forged,
    /// It was good once.
    Expired,
}

impl Signer {
    /// A signer whose links no other accepts.
    pub(super) fn new(seed: u64, started_micros: u64) -> Self {
        let secret = Sha256::new()
            .chain_update(b"jimengd simulator link")
            .chain_update(seed.to_le_bytes())
            .chain_update(started_micros.to_le_bytes())
            .finalize();
        Self { secret: secret.into() }
    }

    /// Path and query of a link to the task's video. Times are unix seconds.
    pub(super) fn sign(&self, task_id: &str, now: u64, expires: u64, request_id: &str) -> String {
        let signature = self.signature(task_id, expires, request_id);
        format!(
            "{ROOT}{expires:08x}/video/tos/cn/{task_id}/?a=0&br=1405&dy_q={now}&l={request_id}&mime_type=video_mp4&sig={signature}"
        )
    }

    /// The task whose video a link stands for.
    pub(super) fn check<'a>(&self, path: &'a str, query: &str, now: u64) -> Result<&'a str, Refused> {
        let rest = path.strip_prefix(ROOT).ok_or(Refused::Forged)?;
        let (expires, rest) = rest.split_once("/video/tos/cn/").ok_or(Refused::Forged)?;
        let task_id = rest.strip_suffix('/').ok_or(Refused::Forged)?;
        let expires = u64::from_str_radix(expires, 16).map_err(|_| Refused::Forged)?;
        let value = |key: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value)
        };
        if value("sig") != self.signature(task_id, expires, value("l")) {
            return Err(Refused::Forged);
        }
        match now < expires {
            true => Ok(task_id),
            false => Err(Refused::Expired),
        }
    }

    fn signature(&self, task_id: &str, expires: u64, request_id: &str) -> String {
        let digest = Sha256::new()
            .chain_update(self.secret)
            .chain_update(task_id)
            .chain_update(expires.to_le_bytes())
            .chain_update(request_id)
            .finalize();
        hex(&digest[..16])
    }
}

/// 32 hexadecimal digits that stand for a text.
pub(super) fn digest(text: &str) -> String {
    hex(&Sha256::digest(text)[..16])
}

/// Lowercase hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_until_its_expiry_and_only_untouched() {
        let signer = Signer::new(1, 2);
        let link = signer.sign("14117763723766220057", 1000, 4600, "2025AB");
        let (path, query) = link.split_once('?').unwrap();
        assert_eq!(path.split('/').nth(2), Some("000011f8"));
        assert!(!path.contains(".mp4"));
        assert_eq!(signer.check(path, query, 1000), Ok("14117763723766220057"));
        assert_eq!(signer.check(path, query, 4599), Ok("14117763723766220057"));
        assert_eq!(signer.check(path, query, 4600), Err(Refused::Expired));
        for (path, query) in [
            (path.replace("11f8", "21f8"), query.to_owned()),
            (path.replace("220057", "220058"), query.to_owned()),
            (path.to_owned(), query.replace("2025AB", "2025AC")),
            (path.to_owned(), String::new()),
            ("/files/".to_owned(), query.to_owned()),
            ("/files/zz/video/tos/cn/1/".to_owned(), query.to_owned()),
        ] {
            assert_eq!(signer.check(&path, &query, 1000), Err(Refused::Forged), "{path}?{query}");
        }
        assert_eq!(Signer::new(1, 3).check(path, query, 1000), Err(Refused::Forged));
    }
}
