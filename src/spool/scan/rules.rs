//! Which names are left alone.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::{Facts, Kind, Sight};
use crate::job::{FileName, Folder};
use crate::spool::pairing;

/// Which names are left alone: the built-in rules and the globs of the configuration.
#[derive(Clone, Debug)]
pub struct Rules {
    globs: Vec<String>,
    names: GlobSet,
    paths: GlobSet,
    /// For each glob of `names` and of `paths`, its place in `globs`.
    name_globs: Vec<usize>,
    path_globs: Vec<usize>,
}

impl Rules {
    /// The built-in rules and `globs`; a glob with a `/` is matched against the path below the inbox, another against the name.
    ///
    /// # Errors
    /// The first glob that is none.
    pub fn new(globs: &[String]) -> Result<Self, globset::Error> {
        let mut names = GlobSetBuilder::new();
        let mut paths = GlobSetBuilder::new();
        let (mut name_globs, mut path_globs) = (Vec::new(), Vec::new());
        for (place, glob) in globs.iter().enumerate() {
            let built: Glob = GlobBuilder::new(glob.trim_start_matches('/')).literal_separator(true).build()?;
            if glob.contains('/') {
                paths.add(built);
                path_globs.push(place);
            } else {
                names.add(built);
                name_globs.push(place);
            }
        }
        Ok(Self { globs: globs.to_vec(), names: names.build()?, paths: paths.build()?, name_globs, path_globs })
    }

    /// The rule by which `name` in `folder` is left alone because of its name; its folder is not looked at.
    pub fn ignored(&self, folder: &Folder, name: &FileName) -> Option<&str> {
        if let Some(rule) = built_in(name) {
            return Some(rule);
        }
        let place = match self.names.matches(name.as_path()).first() {
            Some(&hit) => self.name_globs[hit],
            None => self.path_globs[*self.paths.matches(folder.path_of(name)).first()?],
        };
        self.globs.get(place).map(String::as_str)
    }

    /// Whether `folder` lies in, or is, a folder that is left alone, so that events from it say nothing.
    pub fn passes_over(&self, folder: &Folder) -> bool {
        let mut parent = Folder::root();
        folder.parts().any(|part| {
            let ignored = self.ignored(&parent, &part).is_some();
            parent = parent.join(&part);
            ignored
        })
    }

    /// What a scan says about a name with these facts; `None`: a folder to go into.
    pub fn sight(&self, folder: &Folder, name: &FileName, facts: Facts) -> Option<Sight> {
        let rule = match (self.ignored(folder, name), facts.kind) {
            (Some(rule), _) => rule,
            (None, Kind::Dir) => return None,
            (None, Kind::Symlink) => "a symbolic link",
            (None, Kind::Other) => "not a regular file",
            (None, Kind::File) => match pairing::role(name) {
                Some(_) => return Some(Sight::Member(facts.identity)),
                None if pairing::ours(name) => "a report or a receipt",
                None => "neither a picture nor a sidecar",
            },
        };
        Some(Sight::Ignored(rule.to_owned()))
    }
}

/// The built-in rules: what programs make on the way, and what file managers and synchronisers leave behind.
fn built_in(name: &FileName) -> Option<&'static str> {
    const ENDINGS: [&str; 8] =
        [".part", ".crdownload", ".filepart", ".tmp", ".download", ".partial", ".opdownload", ".!sync"];
    const NAMES: [&str; 5] = ["Thumbs.db", "desktop.ini", "@eaDir", "__MACOSX", "$RECYCLE.BIN"];
    let bytes = name.as_bytes();
    let ends =
        |end: &str| bytes.len() >= end.len() && bytes[bytes.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes());
    // Dot-files cover `.#*`, `._*`, `.DS_Store`, `.stversions`, `.~lock*`, `.nfs*`, `.syncthing.*.tmp` and rsync's `.name.XXXXXX`.
    if bytes.starts_with(b".") {
        return Some(".*");
    }
    if bytes.ends_with(b"~") {
        return Some("*~");
    }
    if bytes.starts_with(b"~$") {
        return Some("~$*");
    }
    if bytes.starts_with(b"~syncthing~") {
        return Some("~syncthing~*");
    }
    // How inotify names a file that is being written without a name.
    if bytes.len() > 1 && bytes[0] == b'#' && bytes[1..].iter().all(u8::is_ascii_digit) {
        return Some("#INODE");
    }
    if let Some(rule) = ENDINGS.into_iter().find(|end| ends(end)) {
        return Some(rule);
    }
    if let Some(rule) = NAMES.into_iter().find(|known| bytes.eq_ignore_ascii_case(known.as_bytes())) {
        return Some(rule);
    }
    // Of Syncthing; of Dropbox and Nextcloud, in English.
    const CONFLICTS: [(&str, &str); 2] =
        [(".sync-conflict", "*.sync-conflict*"), ("conflicted copy", "*conflicted copy*")];
    let holds = |word: &str| bytes.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
    CONFLICTS.into_iter().find(|(word, _)| holds(word)).map(|(_, rule)| rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text).expect("a test's name is a name")
    }

    fn folder(text: &str) -> Folder {
        Folder::new(text).expect("a test's folder is a folder")
    }

    #[test]
    fn temporary_and_foreign_names_are_left_alone() {
        let rules = Rules::new(&["draft-*".into(), "/private/**".into()]).expect("globs");
        let cases = [
            ("cat.jpg", None),
            (".cat.jpg.Xa31Zz", Some(".*")),
            ("cat.jpg~", Some("*~")),
            ("~$cat.yaml", Some("~$*")),
            ("cat.JPG.CRDOWNLOAD", Some(".crdownload")),
            ("thumbs.DB", Some("Thumbs.db")),
            ("@eaDir", Some("@eaDir")),
            ("cat.sync-conflict-20261122-070000-ABCDEFG.jpg", Some("*.sync-conflict*")),
            ("cat (conflicted copy 2026-11-22 070000).jpg", Some("*conflicted copy*")),
            ("cat (Bob's Conflicted Copy).yaml", Some("*conflicted copy*")),
            ("cat (2).jpg", None),
            ("#123456", Some("#INODE")),
            ("#1 cat.jpg", None),
            ("draft-cat.jpg", Some("draft-*")),
        ];
        for (given, rule) in cases {
            assert_eq!(rules.ignored(&folder("a"), &name(given)), rule, "{given}");
        }
        assert_eq!(rules.ignored(&folder("private/a"), &name("cat.jpg")), Some("/private/**"));
        assert_eq!(rules.ignored(&folder("a/private"), &name("cat.jpg")), None);
        assert!(rules.passes_over(&folder("a/@eaDir/b")));
        assert!(!rules.passes_over(&folder("a/b")));
    }
}
