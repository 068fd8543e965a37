//! Why a configuration is refused: where, what was found, what is allowed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use entrepot_registry::PatternError;

use super::storage::ObjectUrl;

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read. A file that was not named and is not there is no error.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is far larger than any configuration.
    #[error("the configuration {} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// What is written cannot be used. Every problem that was found is listed, not only the first.
    #[error(transparent)]
    Refused(#[from] Problems),
}

/// Everything that is wrong with a configuration, at least one thing; `Display` writes one problem a line.
#[derive(Debug)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `Ok` when there is none.
    pub(crate) fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }

    /// The problems, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(formatter, "{line_end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.iter().find_map(|problem| std::error::Error::source(&problem.kind))
    }
}

/// One thing that is wrong, and where.
#[derive(Debug)]
pub struct Problem {
    pub(crate) place: Place,
    pub(crate) key: String,
    pub(crate) kind: ProblemKind,
}

impl Problem {
    /// Where it is written.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The full name of the key or table: `server.listen`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong.
    pub fn kind(&self) -> &ProblemKind {
        &self.kind
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(formatter, "`{}` ", self.key)?;
        }
        self.kind.fmt(formatter)
    }
}

/// A point in a file, counted from 1; or the defaults, which are not written anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file; `None` when there is none.
    pub file: Option<PathBuf>,
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Place {
    /// The place of a byte in a text.
    pub(crate) fn new(file: Option<&Path>, text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            file: file.map(Path::to_path_buf),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(formatter, "{}:{}:{}", file.display(), self.line, self.column),
            None => formatter.write_str("default configuration"),
        }
    }
}

/// What can be wrong with a key. `Display` goes on after the name of the key.
#[derive(Debug, thiserror::Error)]
pub enum ProblemKind {
    /// The file is not TOML.
    #[error("not valid TOML: {message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// There is no such key.
    #[error("is not a key; allowed here: {}{}", allowed.join(", "), did_you_mean(similar.as_deref()))]
    UnknownKey {
        /// The names that the table may have.
        allowed: Vec<&'static str>,
        /// The full name of a key that is spelled nearly so.
        similar: Option<&'static str>,
    },
    /// The value is of another type.
    #[error("is {found}; allowed: {allowed}")]
    WrongType {
        /// The value, or what kind of value it is.
        found: String,
        /// What may be written.
        allowed: &'static str,
    },
    /// The value is of the right type and still not one that is allowed.
    #[error("is {found}; allowed: {allowed}")]
    WrongValue {
        /// The value.
        found: String,
        /// What may be written.
        allowed: &'static str,
    },
    /// A key that must be there is not.
    #[error("is missing; allowed: {allowed}")]
    Missing {
        /// What may be written.
        allowed: &'static str,
    },
    /// Other machines could reach the server and nothing says what they may do.
    #[error(
        "is {found}, and nothing says who may do what there\n\
         \n  for users with passwords, and nobody else, write\n\
         \n      [access]\n      anonymous = \"none\"\n\
         \n      [[access.rule]]\n      principals = [\"authenticated\"]\n      actions = [\"pull\", \"push\", \"catalog\"]\n\
         \n  and make a user with `entrepot user add NAME`\n\
         \n  anonymous = \"pull\" lets everybody pull as well, and anonymous = \"full\" lets everybody do everything\n\
         \n  otherwise let this machine alone reach the server: listen = \"127.0.0.1:{port}\", without public_url and \
         trusted_proxies"
    )]
    OpenWithoutAccess {
        /// By what other machines can reach it.
        found: String,
        /// The port that it listens on.
        port: u16,
    },
    /// Two listeners on one address.
    #[error("is {address}, where `{other}` listens too: give one of them another port")]
    SameAddress {
        /// The address.
        address: SocketAddr,
        /// The other key.
        other: &'static str,
    },
    /// Two kinds of storage in one folder.
    #[error("is {}, the same folder as `{other}`: each needs its own", folder.display())]
    SameFolder {
        /// The folder.
        folder: PathBuf,
        /// The other key.
        other: &'static str,
    },
    /// The folder that is swept has a folder in it that must not be.
    #[error("is {}, and `{other}` is inside it: what is left there from the last run is deleted at the start", folder.display())]
    TemporaryAroundStorage {
        /// The temporary folder.
        folder: PathBuf,
        /// The key of the folder inside.
        other: &'static str,
    },
    /// Two upstreams that answer to one name.
    #[error("is {name:?}, which is the name or an alias of the upstream in line {line} too{}", docker_hub(*is_docker_hub))]
    DuplicateUpstream {
        /// The name.
        name: String,
        /// The line of the other one.
        line: usize,
        /// The names differ, and all of them mean Docker Hub.
        is_docker_hub: bool,
    },
    /// One thing in two ways.
    #[error("is written beside `{other}`: one of the two is enough")]
    OneIsEnough {
        /// The other key.
        other: &'static str,
    },
    /// A program that gives the account, beside an account.
    #[error("is written beside `{other}`: the helper gives the user and the password")]
    HelperBesideAccount {
        /// The other key.
        other: &'static str,
    },
    /// A key that means nothing without another one.
    #[error("needs `{other}` beside it")]
    Needs {
        /// The other key.
        other: &'static str,
    },
    /// A key that means nothing without one of several others.
    #[error("needs one of {} beside it", quoted(others))]
    NeedsOneOf {
        /// The other keys.
        others: &'static [&'static str],
    },
    /// What is written is for stores of objects, and there is none.
    #[error(
        "is for object storage, and `registry_storage` and `proxy_storage` are folders: leave it out, or write s3://… there"
    )]
    WithoutObjectStorage,
    /// A URL of an object store that leads nowhere in particular.
    #[error("is {found}, which {fault}; allowed: {allowed}")]
    NotAnObjectUrl {
        /// The value.
        found: String,
        /// What is wrong with it.
        fault: &'static str,
        /// What may be written.
        allowed: &'static str,
    },
    /// Two kinds of storage in one place of a bucket.
    #[error(
        "is {url}, and `{other}` is {other_url}: neither may be the other or inside it; give each a prefix of its own"
    )]
    SameObjects {
        /// What is written.
        url: Box<ObjectUrl>,
        /// The other key.
        other: &'static str,
        /// What is written there.
        other_url: Box<ObjectUrl>,
    },
    /// There is no folder for SQLite.
    #[error(
        "is {url}, where no SQLite database can lie: the metadata has to be somewhere; write [metadata] with url = \"postgres://…\""
    )]
    MetadataNowhere {
        /// The store.
        url: ObjectUrl,
    },
    /// The read cache shares a folder with something that is not its own.
    #[error("is {}, and `{other}` is {}: the cache needs a folder of its own, for it deletes what is in it", folder.display(), other_folder.display())]
    ReadCacheElsewhere {
        /// The folder of the cache.
        folder: PathBuf,
        /// The other key.
        other: &'static str,
        /// The folder there.
        other_folder: PathBuf,
    },
    /// Rules that nobody asks.
    #[error("is written, and `storage.redirect.mode` is {mode:?}: rules are asked with mode = \"rules\" alone")]
    RulesNotAsked {
        /// The mode that holds.
        mode: &'static str,
    },
    /// A certificate to verify a server by that is not verified.
    #[error(
        "is written beside sslmode={mode} in `metadata.url`, with which no certificate is verified: write sslmode=verify-full"
    )]
    CertificateNotVerified {
        /// The mode in the URL.
        mode: &'static str,
    },
    /// Replicas that have nothing in common.
    #[error("needs metadata that replicas share: write [metadata] with url = \"postgres://…\"")]
    ReplicaWithoutPostgres,
    /// Other replicas cannot connect to "every address".
    #[error(
        "is {listen}, which is no address that other replicas can connect to: write `replica.address`, or set the environment \
         variable {variable} to this replica's URL or address"
    )]
    ReplicaAddressMissing {
        /// Where it listens.
        listen: SocketAddr,
        /// The environment variable that would be read.
        variable: String,
    },
    /// The environment variable holds something else.
    #[error("names the environment variable {name}, which is {found}; allowed in it: {allowed}")]
    VariableNotAnAddress {
        /// The name of the variable.
        name: String,
        /// Its value.
        found: String,
        /// What may be in it.
        allowed: &'static str,
    },
    /// A user name without a password.
    #[error("needs a password: write password, password_file or password_env")]
    PasswordMissing,
    /// The environment variable is not set.
    #[error("names the environment variable {name}, which is not set or is empty")]
    VariableMissing {
        /// The name of the variable.
        name: String,
    },
    /// The file that is named cannot be read.
    #[error("names the file {}, which cannot be read: {source}", path.display())]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file with the secret holds no secret.
    #[error("names the file {}, which is empty, larger than {limit} bytes, or has more than one line", path.display())]
    FileNotASecret {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The file does not hold what it should.
    #[error("names the file {}, which holds no {wanted} in PEM or is larger than {limit} bytes", path.display())]
    FileNotPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// The file does not hold what it should.
    #[error("names the file {}, which holds no object of JSON or is larger than {limit} bytes", path.display())]
    FileNotJson {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A text is no pattern.
    #[error("cannot be read: {0}")]
    NotAPattern(PatternError),
    /// A mirror that is the upstream itself.
    #[error("is {name:?}, which is this upstream itself: a mirror is another place")]
    MirrorOfItself {
        /// What is written.
        name: String,
    },
    /// A mirror that is neither listed nor a URL.
    #[error("is {name:?}, which is not the name of a listed upstream; allowed: {allowed}")]
    UnknownMirror {
        /// What is written.
        name: String,
        /// What may be written.
        allowed: &'static str,
    },
    /// The root mirror leads to no registry.
    #[error("is {name:?}, which is not the name of a listed upstream{}", no_host(*is_listed_only))]
    UnknownRootMirror {
        /// What is written.
        name: String,
        /// Only listed upstreams may be asked.
        is_listed_only: bool,
    },
    /// Two things of one kind and name.
    #[error("is {name:?}, which is the name of the {what} in line {line} too")]
    DuplicateName {
        /// The name.
        name: String,
        /// What has it.
        what: &'static str,
        /// The line of the other one.
        line: usize,
    },
    /// A group that is not there.
    #[error("is {found}, and there is no [[access.group]] of this name{}", there_are(known))]
    UnknownGroup {
        /// What is written.
        found: String,
        /// The names of those that are there.
        known: Vec<String>,
    },
    /// An identity provider that is not there.
    #[error("is {found}, and there is no [[access.oidc]] of the name {name:?}{}", there_are(known))]
    UnknownProvider {
        /// What is written.
        found: String,
        /// The name of the provider in it.
        name: String,
        /// The names of those that are there.
        known: Vec<String>,
    },
    /// An upstream that is not there, or that does not know its own users.
    #[error(
        "is {found}, and there is no [[proxy.upstream]] of the name {name:?} with credentials = \"caller\"{}",
        there_are(known)
    )]
    UnknownCallerUpstream {
        /// What is written.
        found: String,
        /// The name of the upstream in it.
        name: String,
        /// The names of those that are there.
        known: Vec<String>,
    },
    /// An account of the server, where callers come with their own.
    #[error("is written beside `{other}`: either the server has an account there, or its callers have theirs")]
    CallerBesideAccount {
        /// The other key.
        other: &'static str,
    },
    /// Callers should come with their own account, and nobody asks them who they are.
    #[error(
        "needs callers who say who they are: write an [access] table with anonymous = \"none\" or \"pull\"; otherwise what one of \
         them may pull is everybody's"
    )]
    CallerWithoutAccess,
    /// Room would be made to a mark that is not below the one at which it begins.
    #[error("is {low}%, which is not below `proxy.size_high`, {high}%")]
    MarksCrossed {
        /// `size_low` in percent.
        low: u8,
        /// `size_high` in percent.
        high: u8,
    },
    /// An exception that makes none.
    #[error("says nothing: write at least one of fresh_for, stale_for and on_upstream_404")]
    FreshnessSaysNothing,
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn there_are(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; there are: {}", names.join(", ")) }
}

fn no_host(is_listed_only: bool) -> &'static str {
    if is_listed_only {
        ", and `proxy.hosts` allows no other: add it as [[proxy.upstream]]"
    } else {
        " and not that of a public host: add it as [[proxy.upstream]]"
    }
}

fn did_you_mean(similar: Option<&str>) -> String {
    similar.map(|similar| format!("; did you mean `{similar}`?")).unwrap_or_default()
}

fn docker_hub(is_docker_hub: bool) -> &'static str {
    if is_docker_hub { ": docker.io, index.docker.io and registry-1.docker.io are one" } else { "" }
}
