//! Finds the token and hands it over wrapped, so that it is shown nowhere.
//!
//! It is looked for in `api.token_file`, then in the systemd credential `api-token`, then in the environment, and never in
//! the configuration's file. The first place that has something decides, be it good or bad: a bad token in the named file must
//! not make the daemon pay with another account's. An empty credential alone counts as none.
//!
//! Reports where it looked and what to do; never a byte of what it found.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use secrecy::SecretString;

use super::Config;
use super::layers::TOKEN_VARIABLE;

/// Bytes that a token may have at most.
pub const BYTES_MAX: usize = 4096;

/// The name of the systemd credential.
pub const CREDENTIAL: &str = "api-token";

/// Bytes read from a file: a token with generous white space around it.
const FILE_BYTES_MAX: u64 = 4 * BYTES_MAX as u64;

/// Rights of a token's file that let others than its owner read it.
const OTHERS_MAY_READ: u32 = 0o044;

/// The token and what is to be said about where it was found.
#[derive(Debug)]
pub struct Token {
    /// 1 to [`BYTES_MAX`] visible ASCII characters without spaces.
    pub secret: SecretString,
    /// Where it was found: a path or the name of a variable.
    pub found_in: String,
    /// To be logged: such as that others may read the file.
    pub warnings: Vec<String>,
}

/// Why there is no token to work with.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No place holds one.
    #[error(
        "no token: looked in {}; {ADVICE}",
        looked.join(", ")
    )]
    Missing {
        /// Where it was looked for, in order.
        looked: Vec<String>,
    },
    /// The place is there and cannot be read.
    #[error("the token in {} cannot be read; let the daemon's user read this file, or name another in api.token_file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The place is a folder, a pipe, a device or a socket.
    #[error("the token in {} cannot be read: it is no regular file; write the token into a file, or name another in api.token_file", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// The place holds white space alone, or nothing.
    #[error("the token in {found_in} is empty; write the token there, in one line")]
    Empty {
        /// A path or the name of a variable.
        found_in: String,
    },
    /// The place holds something that can be no token.
    #[error("the token in {found_in} {fault}; write the token alone there, in one line, as the vendor shows it")]
    Malformed {
        /// A path or the name of a variable.
        found_in: String,
        /// Continues the sentence.
        fault: &'static str,
    },
}

/// What to do when there is no token at all.
const ADVICE: &str = "put it into /etc/jimengd/api-token for the service, or into a file that only the daemon's user may \
     read and name that in api.token_file, or into JIMENGD_API_TOKEN";

/// Finds the token.
///
/// # Errors
/// None found, or the first place that has one has a bad one.
pub fn token(config: &Config, environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Token, TokenError> {
    let (mut directory, mut variable) = (None, None);
    for (name, value) in environment {
        if name == "CREDENTIALS_DIRECTORY" && !value.is_empty() {
            directory = Some(PathBuf::from(value));
        } else if name == TOKEN_VARIABLE {
            variable = Some(value);
        }
    }
    if let Some(path) = &config.api.token_file {
        let (text, mode) = read(path)?;
        let readable = mode & OTHERS_MAY_READ != 0;
        let warning = || format!("{} may be read by others than its owner; run chmod go= on it", path.display());
        return judge(text, path.display().to_string(), readable.then(warning).into_iter().collect());
    }
    let mut looked = vec!["api.token_file (not set)".to_owned()];
    match directory.map(|directory| directory.join(CREDENTIAL)) {
        None => looked.push("$CREDENTIALS_DIRECTORY (not set)".to_owned()),
        Some(path) => match read(&path) {
            // The unit file sets an empty one for where the file behind it is missing.
            Ok((text, _)) if text.trim_ascii().is_empty() => looked.push(format!("{} (empty)", path.display())),
            // systemd sets the rights of credentials, and an access list of its looks like a right of the group.
            Ok((text, _)) => return judge(text, path.display().to_string(), Vec::new()),
            Err(TokenError::Unreadable { path, source }) if source.kind() == io::ErrorKind::NotFound => {
                looked.push(format!("{} (not there)", path.display()));
            }
            Err(error) => return Err(error),
        },
    }
    match variable {
        Some(value) => judge(value.into_encoded_bytes(), TOKEN_VARIABLE.to_owned(), Vec::new()),
        None => {
            looked.push(format!("{TOKEN_VARIABLE} (not set)"));
            Err(TokenError::Missing { looked })
        }
    }
}

fn read(path: &Path) -> Result<(Vec<u8>, u32), TokenError> {
    let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source };
    // A pipe would wait for a writer, and a terminal would become the daemon's own.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(TokenError::NotAFile { path: path.to_owned() });
    }
    let mode = found.permissions().mode();
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok((bytes, mode))
}

fn judge(bytes: Vec<u8>, found_in: String, warnings: Vec<String>) -> Result<Token, TokenError> {
    let token = bytes.trim_ascii();
    let fault = match token {
        [] => return Err(TokenError::Empty { found_in }),
        token if token.len() > BYTES_MAX => Some("is longer than 4096 bytes"),
        token if token.iter().any(u8::is_ascii_whitespace) => Some("has a space or a line break in it"),
        token if !token.iter().all(u8::is_ascii_graphic) => Some("holds something else than visible ASCII characters"),
        _ => None,
    };
    match (fault, String::from_utf8(token.to_vec())) {
        (None, Ok(token)) => Ok(Token { secret: SecretString::from(token), found_in, warnings }),
        (Some(fault), _) => Err(TokenError::Malformed { found_in, fault }),
        (None, Err(_)) => Err(TokenError::Malformed { found_in, fault: "is not UTF-8" }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret;

    use super::*;
    use crate::config::layers::{Overrides, load};

    fn config(token_file: Option<&Path>) -> Config {
        let mut config = load(None, std::iter::empty(), &Overrides::default()).unwrap().config;
        config.api.token_file = token_file.map(Path::to_owned);
        config
    }

    fn environment(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect::<Vec<_>>().into_iter()
    }

    fn found(config: &Config, pairs: &[(&str, &str)]) -> Result<String, String> {
        let token = token(config, environment(pairs));
        token.map(|token| token.secret.expose_secret().to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_wins_over_the_credential_and_the_credential_over_the_variable() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "  from-file\r\n").unwrap();
        fs::write(dir.path().join(CREDENTIAL), "from-credential\n").unwrap();
        let directory = dir.path().to_str().unwrap();
        let all = [("CREDENTIALS_DIRECTORY", directory), (TOKEN_VARIABLE, "from-variable")];
        assert_eq!(found(&config(Some(&file)), &all).unwrap(), "from-file");
        assert_eq!(found(&config(None), &all).unwrap(), "from-credential");
        assert_eq!(found(&config(None), &all[1..]).unwrap(), "from-variable");
        fs::remove_file(dir.path().join(CREDENTIAL)).unwrap();
        assert_eq!(found(&config(None), &all).unwrap(), "from-variable");
    }

    #[test]
    fn a_bad_first_place_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let good = [(TOKEN_VARIABLE, "good")];
        assert!(found(&config(Some(&file)), &good).unwrap_err().contains("cannot be read"));
        fs::write(&file, " \n").unwrap();
        assert!(found(&config(Some(&file)), &good).unwrap_err().contains("is empty"));
        fs::write(dir.path().join(CREDENTIAL), "two words").unwrap();
        let both = [("CREDENTIALS_DIRECTORY", dir.path().to_str().unwrap()), good[0]];
        assert!(found(&config(None), &both).unwrap_err().contains("has a space"));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join(CREDENTIAL);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [pipe.as_path(), dir.path(), Path::new("/dev/zero")] {
            let error = found(&config(Some(path)), &[(TOKEN_VARIABLE, "good")]).unwrap_err();
            assert!(error.contains("is no regular file"), "{error}");
        }
        let credentials = [("CREDENTIALS_DIRECTORY", dir.path().to_str().unwrap()), (TOKEN_VARIABLE, "good")];
        assert!(found(&config(None), &credentials).unwrap_err().contains("is no regular file"));
    }

    #[test]
    fn an_empty_credential_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CREDENTIAL), "\n").unwrap();
        let environment = [("CREDENTIALS_DIRECTORY", dir.path().to_str().unwrap()), (TOKEN_VARIABLE, "good")];
        assert_eq!(found(&config(None), &environment).unwrap(), "good");
        assert!(found(&config(None), &environment[..1]).unwrap_err().contains("api-token (empty)"));
    }

    #[test]
    fn without_any_place_it_says_where_it_looked() {
        let error = found(&config(None), &[]).unwrap_err();
        for place in ["api.token_file", "CREDENTIALS_DIRECTORY", "JIMENGD_API_TOKEN"] {
            assert!(error.contains(place), "{error}");
        }
    }

    #[test]
    fn what_can_be_no_token_is_refused_without_being_shown() {
        let long = "x".repeat(BYTES_MAX + 1);
        for bad in ["two words", "two\nlines", "schl\u{fc}ssel", "bell\u{7}", long.as_str()] {
            let error = found(&config(None), &[(TOKEN_VARIABLE, bad)]).unwrap_err();
            assert!(!error.contains(bad), "{error}");
        }
        assert!(found(&config(None), &[(TOKEN_VARIABLE, &long[1..])]).is_ok());
    }

    #[test]
    fn a_token_that_others_may_read_brings_a_warning_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "secret-word").unwrap();
        for (mode, warnings) in [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let token = token(&config(Some(&file)), environment(&[])).unwrap();
            assert_eq!(token.warnings.len(), warnings, "{mode:o}");
            assert!(!format!("{token:?}").contains("secret-word"));
        }
    }
}
