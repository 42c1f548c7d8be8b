//! Sidecars and pictures, paired and judged by the code that pairs and judges in the inbox, so that both say the same.
//!
//! A file is checked together with what would be paired with it in its folder. Half a pair is no mistake, for the other half
//! may still come; that nobody can tell what belongs together is one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::table::aligned;
use crate::config::Config;
use crate::config::units::show_size;
use crate::job::name::{shown, split_extension};
use crate::job::picture::{Kind, Limits, Picture};
use crate::job::sidecar::{self, PROMPT_CHARS_MAX, Sidecar, WantedRatio};
use crate::job::{FileName, Folder, Problem, Seed};
use crate::spool::judge::{self, JudgeError, Judgement};
use crate::spool::pairing::{self, Grouping};
use crate::spool::scan::{Inbox, Kind as EntryKind, Rules, ScanError, Sight};

/// How the names of pictures end that the API does not take.
const FOREIGN_PICTURES: [&[u8]; 9] =
    [b".heic", b".heif", b".webp", b".avif", b".gif", b".tif", b".tiff", b".bmp", b".svg"];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Pairs that would be sent.
    pub(super) pairs: Vec<Good>,
    /// Halves of pairs that are fine in themselves.
    pub(super) waiting: Vec<Aside>,
    /// What the inbox would leave alone, in folders that were named.
    pub(super) ignored: Vec<Aside>,
    /// Every complaint.
    pub(super) problems: Vec<Problem>,
    /// What was judged already: `cat.*` on a command line names both files of a pair.
    judged: HashSet<Vec<PathBuf>>,
}

/// A file and why nothing is done with it.
#[derive(Debug, Serialize)]
pub(super) struct Aside {
    file: String,
    why: String,
}

/// A pair that would be sent, and what would be sent.
#[derive(Debug, Serialize)]
pub(super) struct Good {
    pair: String,
    files: Vec<String>,
    prompt: String,
    prompt_characters: usize,
    aspect_ratio: &'static str,
    /// Whether the ratio was decided by the picture.
    aspect_ratio_auto: bool,
    /// `drawn`: by the daemon when the pair is sent; `api`: by the API; else the number.
    seed: String,
    priority: i64,
    picture: Option<PictureView>,
    image_url: Option<String>,
}

#[derive(Debug, Serialize)]
struct PictureView {
    kind: &'static str,
    bytes: u64,
    width: u32,
    height: u32,
}

/// Judges what lies at `paths`. Blocks.
///
/// # Errors
/// A glob of `inbox.ignore` is none.
pub(super) fn look(config: &Config, paths: &[PathBuf]) -> Result<Found, globset::Error> {
    let rules = Rules::new(&config.inbox.ignore)?;
    let inbox = config.folders.inbox.canonicalize().ok();
    let mut look = Look { rules, inbox, limits: config.picture, listed: HashMap::new(), found: Found::default() };
    for path in paths {
        if let Err(error) = look.path(path) {
            look.found.problems.push(complaint(path, format!("{:#}", anyhow::Error::from(error)), None));
        }
    }
    Ok(look.found)
}

struct Look {
    rules: Rules,
    inbox: Option<PathBuf>,
    limits: Limits,
    /// What lies in folders of which files were named, by how they were named.
    listed: HashMap<PathBuf, BTreeMap<Box<[u8]>, Vec<FileName>>>,
    found: Found,
}

/// A folder that was named: beneath the inbox if it lies there, so that globs on paths mean the same, else by itself.
struct Place {
    base: Inbox,
    start: Folder,
    /// As the user named it.
    typed: PathBuf,
}

impl Place {
    /// A path in `folder`, which is beneath the start, as the user would write it.
    fn path(&self, folder: &Folder, name: &FileName) -> PathBuf {
        let beneath = folder.as_path().strip_prefix(self.start.as_path()).unwrap_or(folder.as_path());
        self.typed.join(beneath).join(name.as_path())
    }
}

impl Look {
    fn path(&mut self, path: &Path) -> Result<(), ScanError> {
        match path.metadata() {
            Ok(found) if found.is_dir() => {
                let place = self.place(path)?;
                self.folder(&place)
            }
            Ok(_) => self.file(path),
            Err(error) => {
                self.found.problems.push(complaint(path, format!("cannot be looked at: {error}"), None));
                Ok(())
            }
        }
    }

    fn place(&self, typed: &Path) -> Result<Place, ScanError> {
        let path = if typed.as_os_str().is_empty() { Path::new(".") } else { typed };
        let beneath = self.inbox.as_ref().and_then(|inbox| {
            let rest = path.canonicalize().ok()?.strip_prefix(inbox).ok()?.as_os_str().as_bytes().to_vec();
            Some((inbox, Folder::new(rest)?))
        });
        let (base, start) = match beneath {
            Some((inbox, start)) => (Inbox::open(inbox)?, start),
            None => (Inbox::open(path)?, Folder::root()),
        };
        Ok(Place { base, start, typed: typed.to_owned() })
    }

    /// Everything in the folder and beneath.
    fn folder(&mut self, place: &Place) -> Result<(), ScanError> {
        let mut folders: BTreeMap<Folder, Vec<FileName>> = BTreeMap::new();
        let (mut ignored, mut unreadable) = (Vec::new(), Vec::new());
        place.base.scan(&place.start, &self.rules, &mut |found| {
            let path = place.path(&found.folder, &found.name);
            match found.sight {
                Sight::Member(_) => folders.entry(found.folder).or_default().push(found.name),
                Sight::Ignored(why) => ignored.push(Aside { file: text(&path), why }),
                Sight::Unreadable(why) => unreadable.push(complaint(&path, format!("cannot be read: {why}"), None)),
            }
            true
        })?;
        ignored.sort_by(|a, b| a.file.cmp(&b.file));
        self.found.ignored.extend(ignored);
        self.found.problems.extend(unreadable);
        for (folder, names) in &folders {
            for grouping in pairing::pair(names) {
                self.grouping(place, folder, &grouping);
            }
        }
        Ok(())
    }

    /// One file, with what it would be paired with.
    fn file(&mut self, path: &Path) -> Result<(), ScanError> {
        let named = path.file_name().and_then(|name| FileName::new(name.as_bytes()));
        let (Some(name), Some(parent)) = (named, path.parent()) else {
            self.found.problems.push(complaint(path, "is no name of a file".to_owned(), None));
            return Ok(());
        };
        let place = self.place(parent)?;
        let facts = place.base.look(&place.start, &name)?;
        let is_link = facts.is_some_and(|facts| facts.kind == EntryKind::Symlink);
        let sight = facts.and_then(|facts| self.rules.sight(&place.start, &name, facts));
        match sight {
            Some(Sight::Member(_)) => {}
            Some(Sight::Ignored(why) | Sight::Unreadable(why)) => {
                let message = format!("the inbox leaves it alone: {why}");
                self.found.problems.push(complaint(path, message, Some(instead(&name, is_link).to_owned())));
                return Ok(());
            }
            None => {
                self.found.problems.push(complaint(path, "has gone or changed meanwhile".to_owned(), None));
                return Ok(());
            }
        }
        let names = self.alike(&place, parent, &name)?;
        for grouping in pairing::pair(&names).iter().filter(|grouping| grouping.members().contains(&&name)) {
            self.grouping(&place, &place.start, grouping);
        }
        Ok(())
    }

    /// The names of the group of `name` in the folder that was named as `parent`. A folder is listed once, however many of its
    /// files are named.
    fn alike(&mut self, place: &Place, parent: &Path, name: &FileName) -> Result<Vec<FileName>, ScanError> {
        if !self.listed.contains_key(parent) {
            let mut groups: BTreeMap<Box<[u8]>, Vec<FileName>> = BTreeMap::new();
            place.base.scan(&place.start, &self.rules, &mut |found| {
                // A folder's own entries come in one run, before those of the folders in it.
                let is_here = found.folder == place.start;
                if is_here && matches!(found.sight, Sight::Member(_)) {
                    groups.entry(pairing::group_key(&found.name).into()).or_default().push(found.name);
                }
                is_here
            })?;
            self.listed.insert(parent.to_owned(), groups);
        }
        let groups = self.listed.get(parent);
        Ok(groups.and_then(|groups| groups.get(&*pairing::group_key(name))).cloned().unwrap_or_default())
    }

    fn grouping(&mut self, place: &Place, folder: &Folder, grouping: &Grouping<'_>) {
        let paths: Vec<PathBuf> = grouping.members().iter().map(|name| place.path(folder, name)).collect();
        let real = paths.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect();
        if !self.found.judged.insert(real) {
            return;
        }
        let pair = text(&place.path(folder, &grouping.stem()));
        match grouping {
            Grouping::Pair { picture, sidecar } => {
                let open = |name| open(place, folder, name);
                match (open(picture), open(sidecar)) {
                    (Ok(picture), Ok(sidecar)) => self.judge(pair, Some((&paths[0], picture)), (&paths[1], sidecar)),
                    (picture, sidecar) => self
                        .found
                        .problems
                        .extend([picture.err(), sidecar.err()].into_iter().flatten().map(|problem| *problem)),
                }
            }
            Grouping::SidecarAlone { sidecar } => match open(place, folder, sidecar) {
                Ok(file) => self.sidecar_alone(pair, &paths[0], file),
                Err(problem) => self.found.problems.push(*problem),
            },
            Grouping::PictureAlone { picture } => match open(place, folder, picture) {
                Ok(file) => self.picture_alone(&paths[0], file),
                Err(problem) => self.found.problems.push(*problem),
            },
            Grouping::Ambiguous { sidecars, .. } => {
                let path = sidecars.first().map_or_else(|| paths[0].clone(), |name| place.path(folder, name));
                self.complain(&path, vec![pairing::ambiguity(&grouping.members())]);
            }
        }
    }

    fn judge(&mut self, pair: String, picture: Option<(&Path, File)>, sidecar: (&Path, File)) {
        let (picture_path, picture) = picture.unzip();
        let judged = judge::judge(picture, sidecar.1, &self.limits);
        self.judged(pair, picture_path, sidecar.0, judged);
    }

    fn judged(
        &mut self,
        pair: String,
        picture_path: Option<&Path>,
        sidecar_path: &Path,
        judged: Result<Judgement, JudgeError>,
    ) {
        let judgement = match judged {
            Ok(judgement) => judgement,
            Err(error) => {
                let file = match &error {
                    JudgeError::Io { file, .. } | JudgeError::Changed { file } => *file,
                };
                let path = if file == "picture" { picture_path.unwrap_or(sidecar_path) } else { sidecar_path };
                let message = format!("{:#}", anyhow::Error::from(error));
                self.found.problems.push(complaint(path, message, None));
                return;
            }
        };
        match judgement.accepted() {
            Ok((values, picture)) => {
                let files = picture_path.into_iter().chain([sidecar_path]).map(text).collect();
                self.found.pairs.push(Good::of(pair, files, values, picture));
            }
            Err(complaints) => {
                self.complain(sidecar_path, complaints.sidecar);
                self.complain(picture_path.unwrap_or(sidecar_path), complaints.picture);
            }
        }
    }

    /// A job by itself if it names an address, else half a pair whose values can be looked at all the same.
    fn sidecar_alone(&mut self, pair: String, path: &Path, mut file: File) {
        let judged = match file.try_clone() {
            Ok(twin) => judge::judge(None, twin, &self.limits),
            Err(source) => Err(JudgeError::Io { file: "sidecar", source }),
        };
        match judged {
            Ok(judgement) if !judgement.sidecar.names_address => match read_again(&mut file) {
                Ok(bytes) => match sidecar::read(&bytes, true) {
                    Ok(_) => self.half(path, "no picture of this name beside it yet"),
                    Err(problems) => self.complain(path, problems),
                },
                Err(error) => self.found.problems.push(complaint(path, format!("cannot be read: {error}"), None)),
            },
            judged => self.judged(pair, None, path, judged),
        }
    }

    fn picture_alone(&mut self, path: &Path, file: File) {
        let problems = match judge::judge_picture(file, &self.limits) {
            Ok(found) => found.accepted().map_or_else(|problems| problems, |_| Vec::new()),
            Err(error) => vec![complaint(path, format!("{:#}", anyhow::Error::from(error)), None)],
        };
        if problems.is_empty() {
            self.half(path, "no sidecar of this name beside it yet");
        }
        self.complain(path, problems);
    }

    fn half(&mut self, path: &Path, why: &str) {
        self.found.waiting.push(Aside { file: text(path), why: why.to_owned() });
    }

    fn complain(&mut self, path: &Path, problems: Vec<Problem>) {
        let named = problems.into_iter().map(|problem| Problem { file: Some(text(path)), ..problem });
        self.found.problems.extend(named);
    }
}

impl Good {
    fn of(pair: String, files: Vec<String>, values: &Sidecar, picture: Option<&Picture>) -> Self {
        // Which seed the daemon will draw nobody knows yet; any will do to see the rest.
        let request = values.request(picture.map(|picture| (picture.width, picture.height)), 1);
        Self {
            pair,
            files,
            prompt_characters: request.prompt.chars().count(),
            prompt: request.prompt,
            aspect_ratio: request.aspect_ratio.label(),
            aspect_ratio_auto: values.aspect_ratio == WantedRatio::Auto,
            seed: match request.seed {
                Seed::Fixed(seed) => seed.to_string(),
                Seed::Drawn(_) => "drawn".to_owned(),
                Seed::Api => "api".to_owned(),
            },
            priority: values.priority,
            picture: picture.map(|picture| PictureView {
                kind: match picture.kind {
                    Kind::Jpeg => "JPEG",
                    Kind::Png => "PNG",
                },
                bytes: picture.bytes,
                width: picture.width,
                height: picture.height,
            }),
            // What follows the path may be a signature that opens the picture to whoever reads this.
            image_url: request.image_url.map(|url| url.split(['?', '#']).next().unwrap_or_default().to_owned()),
        }
    }

    fn shown(&self) -> String {
        let auto = if self.aspect_ratio_auto { " (auto)" } else { "" };
        let seed = match self.seed.as_str() {
            "drawn" => "a seed drawn when it is sent".to_owned(),
            "api" => "the API's own seed".to_owned(),
            number => format!("seed {number}"),
        };
        let picture = match (&self.picture, &self.image_url) {
            (Some(PictureView { kind, bytes, width, height }), _) => {
                format!("{kind} of {width} x {height} pixels, {}", show_size(*bytes))
            }
            (None, Some(url)) => format!("the picture at {}", shown(url.as_bytes())),
            (None, None) => "no picture".to_owned(),
        };
        // To be read: a # may have cut it, and bytes of another encoding may be characters by chance.
        let prompt = shown(self.prompt.replace(['\n', '\t'], " ").as_bytes());
        let characters = self.prompt_characters;
        format!(
            "ok       {}\n         \"{prompt}\"\n         {characters} of {PROMPT_CHARS_MAX} characters, {}{auto}, {seed}; {picture}\n",
            self.files.join(" + "),
            self.aspect_ratio
        )
    }
}

impl Found {
    /// The page that people read: good pairs, what waits and what is ignored, and last what is wrong.
    pub(super) fn shown(&self) -> String {
        let mut page: String = self.pairs.iter().map(Good::shown).collect();
        let aside = |word: &str, list: &[Aside]| {
            let rows: Vec<Vec<String>> =
                list.iter().map(|aside| vec![word.to_owned(), aside.file.clone(), aside.why.clone()]).collect();
            aligned("", &rows)
        };
        page.push_str(&aside("waits  ", &self.waiting));
        page.push_str(&aside("ignored", &self.ignored));
        page.extend(self.problems.iter().map(|problem| format!("problem  {problem}\n")));
        page.push_str(&format!(
            "\n{} would be sent, {} would wait, {} would be left alone; {}\n",
            self.pairs.len(),
            self.waiting.len(),
            self.ignored.len(),
            match self.problems.len() {
                0 => "nothing is wrong".to_owned(),
                1 => "1 problem".to_owned(),
                count => format!("{count} problems"),
            }
        ));
        page
    }
}

fn open(place: &Place, folder: &Folder, name: &FileName) -> Result<File, Box<Problem>> {
    let path = place.path(folder, name);
    match place.base.open_file(folder, name) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(Box::new(complaint(&path, "has gone or changed meanwhile".to_owned(), None))),
        Err(ScanError::Io { source, .. }) => {
            let proposal = "let the daemon's user read it".to_owned();
            Err(Box::new(complaint(&path, format!("cannot be read: {source}"), Some(proposal))))
        }
        Err(error @ ScanError::Unavailable { .. }) => Err(Box::new(complaint(&path, error.to_string(), None))),
    }
}

/// What a sidecar holds, from its beginning; a little more than it may where it is longer.
fn read_again(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    let limit = u64::try_from(sidecar::BYTES_MAX).unwrap_or(u64::MAX) + 1;
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn complaint(path: &Path, message: String, proposal: Option<String>) -> Problem {
    Problem { file: Some(text(path)), message, proposal, ..Problem::default() }
}

/// A path as text; what is not UTF-8 is written `\xNN`.
fn text(path: &Path) -> String {
    shown(path.as_os_str().as_bytes())
}

/// What to do about a file that the inbox leaves alone.
fn instead(name: &FileName, is_link: bool) -> &'static str {
    let (_, extension) = split_extension(name);
    let is_foreign = FOREIGN_PICTURES.iter().any(|foreign| extension.eq_ignore_ascii_case(foreign));
    match (is_link, is_foreign) {
        (true, _) => "put the file itself there, as with cp -L",
        (false, true) => "save it as a JPEG or PNG; another name alone is not enough",
        (false, false) => "name a JPEG or PNG cat.jpg or cat.png, and its sidecar cat.yaml",
    }
}
