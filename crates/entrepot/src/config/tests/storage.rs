//! `registry_storage`, `proxy_storage` and `[storage]`: folders and buckets, and how buckets are reached.

use entrepot_server::Network;

use super::*;

/// Two stores in a bucket, and a database for what is known about them.
const BUCKETS: &str = "registry_storage = \"s3://bucket/registry\"\nproxy_storage = \"s3://bucket/proxy\"\n\
                       metadata.url = \"postgres://entrepot@db.corp/entrepot?sslmode=verify-full\"\n";

fn problem(text: &str, expected: &str) {
    let problems = refused(text);
    assert!(problems.contains(expected), "{text}\ngives {problems:?}, not {expected:?}");
    assert_eq!(problems.lines().count(), 1, "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

fn accepted(text: &str) -> Configuration {
    read_text(text).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// A configuration with buckets and one more table.
fn with_table(table: &str, lines: &str) -> String {
    format!("{BUCKETS}[{table}]\n{lines}\n")
}

fn s3(lines: &str) -> S3Configuration {
    accepted(&with_table("storage.s3", lines)).storage.s3
}

#[test]
fn a_store_is_a_folder_or_a_place_in_a_bucket() {
    let rows = [
        ("s3://bucket", ObjectScheme::S3, "bucket", "", "s3://bucket"),
        ("s3://bucket/", ObjectScheme::S3, "bucket", "", "s3://bucket"),
        ("s3://my-bucket.1/registry", ObjectScheme::S3, "my-bucket.1", "registry", "s3://my-bucket.1/registry"),
        ("s3://bucket/a/B_c/d.e/", ObjectScheme::S3, "bucket", "a/B_c/d.e", "s3://bucket/a/B_c/d.e"),
        ("gs://bucket/registry", ObjectScheme::Gcs, "bucket", "registry", "gs://bucket/registry"),
        ("az://container/x", ObjectScheme::Azure, "container", "x", "az://container/x"),
    ];
    for (written, scheme, bucket, prefix, shown) in rows {
        let text = format!(
            "registry_storage = {written:?}\nmetadata.url = \"postgres://u@h/d\"\n[storage.azure]\naccount = \"a\""
        );
        let configuration = accepted(&text);
        let url = configuration.registry_storage.object().expect(written);
        assert_eq!((url.scheme(), url.bucket(), url.prefix()), (scheme, bucket, prefix), "{written}");
        assert_eq!(configuration.registry_storage.to_string(), shown);
        assert!(configuration.describe().contains(&format!("registry_storage = \"{shown}\"\n")), "{written}");
        assert!(configuration.has_object_storage() && configuration.proxy_storage.object().is_none());
    }
    let folders = accepted("");
    assert!(!folders.has_object_storage() && folders.registry_storage.object().is_none());
}

#[test]
fn a_url_that_leads_nowhere_in_particular_is_refused_with_what_is_wrong_with_it() {
    let prefix = "which has a prefix with a part that is empty, \".\", \"..\", or has other characters in it; allowed: a folder, or";
    let rows = [
        ("http://bucket/registry", "which has another scheme; allowed: a folder, or s3://BUCKET/PREFIX"),
        ("S3://bucket", "which has another scheme"),
        ("s3://", "which names no bucket"),
        ("s3:///registry", "which names no bucket"),
        ("s3://Bucket", "which names no bucket"),
        ("s3://-bucket", "which names no bucket"),
        ("s3://bucket.", "which names no bucket"),
        ("s3://bucket:9000/registry", "which names no bucket"),
        ("s3://bucket?region=x", "which names no bucket"),
        ("s3://ab", "which has a bucket with a name that is too short or too long"),
        ("s3://bucket//registry", prefix),
        ("s3://bucket/a//b", prefix),
        ("s3://bucket/a//", prefix),
        ("s3://bucket/../b", prefix),
        ("s3://bucket/a/..", prefix),
        ("s3://bucket/./b", prefix),
        ("s3://bucket/a b", prefix),
        ("s3://bucket/a?b", prefix),
        ("s3://bucket/a%2Fb", prefix),
    ];
    for key in ["registry_storage", "proxy_storage"] {
        for (url, fault) in rows {
            let expected = format!("configuration.toml:1:{}: `{key}` is {url:?}, {fault}", key.len() + 4);
            problem(&format!("{key} = {url:?}"), &expected);
        }
        let long = format!("s3://bucket/{}", "a".repeat(401));
        problem(&format!("{key} = {long:?}"), "which has a prefix that is too long");
        problem(&format!("{key} = \"s3://key:hunter2@bucket/a\""), &format!("`{key}` is a URL with a user in it"));
    }
    problem(
        "temporary_registry_storage = \"s3://bucket/tmp\"",
        "`temporary_registry_storage` is \"s3://bucket/tmp\"; allowed: a folder",
    );
}

#[test]
fn two_stores_share_no_place_in_a_bucket() {
    let text = |registry: &str, proxy: &str| {
        format!("registry_storage = {registry:?}\nproxy_storage = {proxy:?}\nmetadata.url = \"postgres://u@h/d\"")
    };
    for (registry, proxy) in [
        ("s3://bucket/a", "s3://bucket/a/"),
        ("s3://bucket/a", "s3://bucket/a/b"),
        ("s3://bucket/a/b", "s3://bucket/a"),
        ("s3://bucket", "s3://bucket/a"),
        ("s3://bucket/a", "s3://bucket"),
        ("gs://bucket", "gs://bucket"),
    ] {
        problem(&text(registry, proxy), "neither may be the other or inside it; give each a prefix of its own");
    }
    let problems = refused(&text("s3://bucket/a", "s3://bucket/a/b"));
    let expected =
        "configuration.toml:2:17: `proxy_storage` is s3://bucket/a/b, and `registry_storage` is s3://bucket/a: ";
    assert!(problems.starts_with(expected), "{problems}");
    for (registry, proxy) in [
        ("s3://bucket/a", "s3://bucket/ab"),
        ("s3://bucket/a/b", "s3://bucket/a/c"),
        ("s3://bucket/a", "s3://other/a"),
        ("s3://bucket/a", "gs://bucket/a"),
    ] {
        accepted(&text(registry, proxy));
    }
}

#[test]
fn a_bucket_needs_a_database_and_a_local_cache_beside_it_keeps_its_own() {
    for key in ["registry_storage", "proxy_storage"] {
        problem(
            &format!("{key} = \"s3://bucket/a\""),
            &format!(
                "configuration.toml:1:{}: `{key}` is s3://bucket/a, where no SQLite database can lie: the metadata has to be somewhere; \
                 write [metadata] with url = \"postgres://…\"",
                key.len() + 4
            ),
        );
    }
    let is_shared = |text: &str| {
        let configuration = accepted(&format!("{text}\nmetadata.url = \"postgres://u@h/d\""));
        [configuration.registry_metadata(), configuration.proxy_metadata()]
            .map(|metadata| metadata.postgres().is_some())
    };
    assert_eq!(is_shared(""), [true, true]);
    assert_eq!(is_shared("registry_storage = \"s3://bucket/a\""), [true, false]);
    assert_eq!(is_shared("registry_storage = \"s3://bucket/a\"\nproxy_storage = \"s3://bucket/b\""), [true, true]);
    assert_eq!(is_shared("proxy_storage = \"s3://bucket/b\""), [true, true]);
}

#[test]
fn what_one_process_alone_uses_is_in_a_folder_of_its_own() {
    let folder = |text: &str| {
        let configuration = accepted(text);
        let (key, folder) = configuration.process_folder();
        (key, folder.to_owned())
    };
    assert_eq!(folder(""), ("registry_storage", "/srv/storage/registry".into()));
    assert_eq!(folder(BUCKETS), ("temporary_registry_storage", "/srv/storage/_tmp".into()));
}

#[test]
fn s3_has_defaults_for_everything() {
    let shown = accepted(BUCKETS).describe();
    let expected = "
[storage.s3]
# endpoint: that of AWS in the region
region = \"us-east-1\"
# access_key_id: what the surroundings give
path_style = false
# public_endpoint: the endpoint
checksum = \"none\"
conditional_put = true
part_size = \"16MiB\"
parts_in_flight = 8
timeout = \"15s\"
retry_for = \"10s\"

# storage.read_cache: none, all bytes come from the bucket

[storage.redirect]
mode = \"never\"
size_min = \"1MiB\"
lifetime = \"10m\"

[metadata]
url = \"postgres://entrepot@db.corp:5432/entrepot?sslmode=verify-full\"
# password: none
connections_max = 16
acquire_timeout = \"5s\"
statement_timeout = \"10s\"
schema_prefix = \"entrepot\"

[server]
";
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn everything_about_s3_is_heeded_and_its_secrets_are_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\n").expect("a file");
    let text = with_table(
        "storage.s3",
        "endpoint = \"http://garage.corp:3900/\"\nregion = \"garage\"\naccess_key_id = \"GK1\"\n\
         secret_access_key = \"hunter2\"\nsession_token_env = \"TOKEN\"\npath_style = false\n\
         public_endpoint = \"https://s3.corp\"\nca = \"ca.pem\"\nchecksum = \"sha256\"\nconditional_put = false\n\
         part_size = \"5MiB\"\nparts_in_flight = 256\ntimeout = \"1s\"\nretry_for = \"0s\"",
    );
    std::fs::write(folder.path().join(FILE_NAME), text).expect("a file");
    let configuration = load(folder.path(), None).expect("all of it is right");
    let S3Configuration { endpoint, region, credentials, is_path_style, public_endpoint, ca, .. } =
        configuration.storage.s3.clone();
    assert_eq!((endpoint.as_deref(), region.as_str()), (Some("http://garage.corp:3900"), "garage"));
    assert_eq!((is_path_style, public_endpoint.as_deref()), (false, Some("https://s3.corp")));
    assert!(ca.is_some());
    let credentials = credentials.expect("keys");
    assert_eq!((credentials.access_key_id.as_str(), credentials.secret_access_key.expose_secret()), ("GK1", "hunter2"));
    assert_eq!(credentials.session_token.expect("a token").expose_secret(), "from the environment");
    let s3 = &configuration.storage.s3;
    assert_eq!((s3.checksum, s3.has_conditional_put), (ObjectChecksum::Sha256, false));
    let transfer = TransferConfiguration {
        part_size: 5 << 20,
        parts_in_flight: 256,
        timeout: Duration::from_secs(1),
        retry_for: Duration::ZERO,
    };
    assert_eq!(s3.transfer, transfer);
    let shown = configuration.describe();
    for line in
        ["secret_access_key = \"***\"", "# session_token: ***", "# ca: 1 certificate", "access_key_id = \"GK1\""]
    {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let told = format!("{configuration:?}{shown}");
    assert!(!told.contains("hunter2") && !told.contains("from the environment"), "{told}");
}

#[test]
fn a_store_elsewhere_has_its_buckets_in_the_path_unless_it_is_told() {
    assert!(!s3("").is_path_style);
    assert!(s3("endpoint = \"https://s3.corp\"").is_path_style);
    assert!(!s3("endpoint = \"https://s3.corp\"\npath_style = false").is_path_style);
    assert!(s3("path_style = true").is_path_style);
    assert_eq!(s3("region = \"auto\"\nendpoint = \"https://x.r2.cloudflarestorage.com\"").region, "auto");
}

#[test]
fn what_cannot_be_about_s3_is_refused() {
    let rows = [
        ("endpoint = \"s3.corp\"", "`storage.s3.endpoint` is \"s3.corp\"; allowed: https://HOST"),
        ("endpoint = \"https://s3.corp/bucket\"", "`storage.s3.endpoint` is \"https://s3.corp/bucket\"; allowed"),
        ("endpoint = \"https://k:hunter2@s3.corp\"", "`storage.s3.endpoint` is a URL with a user in it"),
        ("public_endpoint = \"ftp://s3.corp\"", "`storage.s3.public_endpoint` is \"ftp://s3.corp\"; allowed"),
        ("region = \"\"", "`storage.s3.region` is \"\"; allowed: the name of a region"),
        ("region = \"eu west\"", "`storage.s3.region` is \"eu west\"; allowed"),
        ("region = \"auto\"", "configuration.toml:5:10: `storage.s3.region` needs `endpoint` beside it"),
        (
            "access_key_id = \"GK1\"",
            "configuration.toml:5:17: `storage.s3.access_key_id` needs one of `secret_access_key`, `secret_access_key_file`, \
             `secret_access_key_env` beside it",
        ),
        ("access_key_id = \"\"\nsecret_access_key = \"hunter2\"", "`storage.s3.access_key_id` is \"\"; allowed"),
        ("secret_access_key = \"hunter2\"", "`storage.s3.secret_access_key` needs `access_key_id` beside it"),
        ("secret_access_key_env = \"TOKEN\"", "`storage.s3.secret_access_key_env` needs `access_key_id` beside it"),
        ("session_token_env = \"TOKEN\"", "`storage.s3.session_token_env` needs `access_key_id` beside it"),
        (
            "access_key_id = \"GK1\"\nsecret_access_key = \"hunter2\"\nsecret_access_key_env = \"TOKEN\"",
            "configuration.toml:7:25: `storage.s3.secret_access_key_env` is written beside `secret_access_key`",
        ),
        (
            "access_key_id = \"GK1\"\nsecret_access_key_env = \"NONE\"",
            "`storage.s3.secret_access_key_env` names the environment variable NONE, which is not set or is empty",
        ),
        (
            "access_key_id = \"GK1\"\nsecret_access_key_file = \"/no\"",
            "`storage.s3.secret_access_key_file` names the file /no, which cannot be read",
        ),
        ("access_key_id = \"GK1\"\nsecret_access_key = \"\"", "`storage.s3.secret_access_key` is empty"),
        (
            "access_key_id = \"GK1\"\nsecret_access_key = \"hunter2\"\nsession_token_env = \"NONE\"",
            "`storage.s3.session_token_env` names the environment variable NONE",
        ),
        ("ca = \"/no\"", "`storage.s3.ca` names the file /no, which cannot be read"),
        ("checksum = \"md5\"", "`storage.s3.checksum` is \"md5\"; allowed: \"none\" or \"sha256\""),
        ("path_style = \"yes\"", "`storage.s3.path_style` is \"yes\"; allowed: true or false"),
        ("part_size = \"4MiB\"", "`storage.s3.part_size` is \"4MiB\"; allowed: a size from \"5MiB\" to \"5GiB\""),
        ("part_size = \"6GiB\"", "`storage.s3.part_size` is \"6GiB\"; allowed"),
        ("parts_in_flight = 0", "`storage.s3.parts_in_flight` is the number 0; allowed: a whole number from 1 to 256"),
        ("parts_in_flight = 257", "`storage.s3.parts_in_flight` is the number 257; allowed"),
        ("timeout = \"0s\"", "`storage.s3.timeout` is \"0s\"; allowed: a duration from \"1s\" on"),
        ("retry_for = \"10\"", "`storage.s3.retry_for` is \"10\"; allowed: a duration"),
        ("bucket = \"x\"", "`storage.s3.bucket` is not a key; allowed here: endpoint, region"),
    ];
    for (lines, expected) in rows {
        problem(&with_table("storage.s3", lines), expected);
    }
}

#[test]
fn google_and_azure_are_reached_likewise() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    let read = |text: &str| {
        write(FILE_NAME, text);
        load(folder.path(), None).map_err(|error| error.to_string())
    };
    write("key.json", "{\"private_key\": \"hunter2\"}");
    write("key.txt", "hunter2");
    let gcs = |file: &str| {
        format!(
            "registry_storage = \"gs://bucket/a\"\nmetadata.url = \"postgres://u@h/d\"\n[storage.gcs]\n\
             credentials_file = {file:?}\nendpoint = \"http://127.0.0.1:4443\"\npart_size = \"32MiB\""
        )
    };
    let configuration = read(&gcs("key.json")).expect("all of it is right");
    assert_eq!(configuration.storage.gcs.endpoint.as_deref(), Some("http://127.0.0.1:4443"));
    assert_eq!(configuration.storage.gcs.transfer.part_size, 32 << 20);
    let shown = configuration.describe();
    assert!(shown.contains("[storage.gcs]\n") && shown.contains("# credentials: ***\n"), "{shown}");
    assert!(!shown.contains("[storage.s3]") && !format!("{configuration:?}{shown}").contains("hunter2"), "{shown}");
    let problems = read(&gcs("key.txt")).expect_err("it is no JSON");
    assert!(problems.contains("key.txt, which holds no object of JSON") && !problems.contains("hunter2"), "{problems}");
    let problems = read(&gcs("none.json")).expect_err("it is not there");
    assert!(problems.contains("`storage.gcs.credentials_file` names the file"), "{problems}");

    let azure = "registry_storage = \"az://container/a\"\nmetadata.url = \"postgres://u@h/d\"\n";
    let configuration = accepted(&format!("{azure}[storage.azure]\naccount = \"corp1\"\naccess_key = \"hunter2\""));
    let shown = configuration.describe();
    let expected =
        "[storage.azure]\naccount = \"corp1\"\naccess_key = \"***\"\n# endpoint: Azure's own of the account\n";
    assert!(shown.contains(expected), "{shown}");
    assert!(!format!("{configuration:?}{shown}").contains("hunter2"));
    problem(azure, "`storage.azure.account` is missing; allowed: lower-case letters and digits");
    for (lines, expected) in [
        ("endpoint = \"https://x\"", "configuration.toml:3:1: `storage.azure.account` is missing"),
        ("account = \"Corp\"", "`storage.azure.account` is \"Corp\"; allowed"),
        (
            "account = \"a\"\naccess_key_env = \"NONE\"",
            "`storage.azure.access_key_env` names the environment variable NONE",
        ),
        (
            "account = \"a\"\npart_size = \"4GiB\"",
            "`storage.azure.part_size` is \"4GiB\"; allowed: a size from \"5MiB\" to \"4000MiB\"",
        ),
    ] {
        problem(&format!("{azure}[storage.azure]\n{lines}"), expected);
    }
}

#[test]
fn the_read_cache_has_a_folder_of_its_own_and_something_to_keep() {
    let configuration = accepted(&with_table("storage.read_cache", "folder = \"cache\"\nsize_max = \"100GiB\""));
    let expected = ReadCacheConfiguration { folder: "/srv/cache".into(), size_max: 100 << 30 };
    assert_eq!(configuration.storage.read_cache, Some(expected));
    let shown = configuration.describe();
    assert!(shown.contains("\n[storage.read_cache]\nfolder = \"/srv/cache\"\nsize_max = \"100GiB\"\n"), "{shown}");
    for (lines, expected) in [
        ("size_max = \"1GiB\"", "configuration.toml:4:1: `storage.read_cache.folder` is missing; allowed: a folder"),
        ("folder = \"cache\"", "`storage.read_cache.size_max` is missing; allowed: a size"),
        ("folder = \"cache\"\nsize_max = \"0\"", "`storage.read_cache.size_max` is \"0\"; allowed"),
        ("folder = \"s3://bucket\"\nsize_max = \"1GiB\"", "`storage.read_cache.folder` is \"s3://bucket\"; allowed"),
        (
            "folder = \"storage/_tmp/x\"\nsize_max = \"1GiB\"",
            "configuration.toml:5:10: `storage.read_cache.folder` is /srv/storage/_tmp/x, and `temporary_registry_storage` is \
             /srv/storage/_tmp: the cache needs a folder of its own",
        ),
        ("folder = \"storage\"\nsize_max = \"1GiB\"", "and `temporary_registry_storage` is /srv/storage/_tmp"),
    ] {
        problem(&with_table("storage.read_cache", lines), expected);
    }
    let local = "registry_storage = \"s3://bucket/a\"\nmetadata.url = \"postgres://u@h/d\"\n[storage.read_cache]\n\
                 folder = \"storage/proxy\"\nsize_max = \"1GiB\"";
    problem(local, "and `proxy_storage` is /srv/storage/proxy: the cache needs");
    problem(
        "[storage.read_cache]\nfolder = \"cache\"\nsize_max = \"1GiB\"",
        "configuration.toml:1:1: `storage.read_cache` is for object storage, and `registry_storage` and `proxy_storage` are folders",
    );
}

#[test]
fn redirects_are_for_nobody_for_everybody_or_by_rules() {
    assert_eq!(accepted(BUCKETS).storage.redirect.mode, RedirectMode::Never);
    let always = accepted(&with_table("storage.redirect", "mode = \"always\"\nsize_min = \"0\"\nlifetime = \"7d\""));
    let redirect = always.storage.redirect;
    assert_eq!(
        (redirect.mode, redirect.size_min, redirect.lifetime),
        (RedirectMode::Always, 0, Duration::from_hours(168))
    );

    let rules = "mode = \"rules\"\n[[storage.redirect.rule]]\nrepositories = [\"team/**\"]\nnetworks = [\"10.0.0.0/8\", \"::1\"]\n\
                 size_min = \"64MiB\"\nredirect = false\n[[storage.redirect.rule]]\nredirect = true";
    let configuration = accepted(&with_table("storage.redirect", rules));
    let shown = configuration.describe();
    let expected = "[storage.redirect]\nmode = \"rules\"\nsize_min = \"1MiB\"\nlifetime = \"10m\"\n\n[[storage.redirect.rule]]\n\
                    repositories = [\"team/**\"]\nnetworks = [\"10.0.0.0/8\", \"::1/128\"]\nsize_min = \"64MiB\"\nredirect = false\n\n\
                    [[storage.redirect.rule]]\nredirect = true\n";
    assert!(shown.contains(expected), "{shown}");
    let [first, second] = &configuration.storage.redirect.rules[..] else { panic!("two rules") };
    assert!(first.repositories.matches("team/app") && !first.is_redirected && second.is_redirected);
    assert_eq!(first.networks[0], "10.0.0.0/8".parse::<Network>().expect("a network"));
    assert_eq!((first.size_min, second.size_min), (Some(64 << 20), None));
}

#[test]
fn redirects_that_cannot_be_are_refused() {
    let rule = "[[storage.redirect.rule]]\n";
    let rows = [
        (
            "mode = \"sometimes\"".to_owned(),
            "`storage.redirect.mode` is \"sometimes\"; allowed: \"never\", \"always\" or \"rules\"",
        ),
        (
            "mode = \"rules\"".to_owned(),
            "configuration.toml:5:8: `storage.redirect.mode` needs `[[storage.redirect.rule]]` beside it",
        ),
        (
            "lifetime = \"59s\"".to_owned(),
            "`storage.redirect.lifetime` is \"59s\"; allowed: a duration from \"1m\" to \"7d\"",
        ),
        ("lifetime = \"8d\"".to_owned(), "`storage.redirect.lifetime` is \"8d\"; allowed"),
        ("size_min = \"some\"".to_owned(), "`storage.redirect.size_min` is \"some\"; allowed: a size"),
        (
            format!("{rule}redirect = true"),
            "configuration.toml:5:1: `storage.redirect.rule` is written, and `storage.redirect.mode` is \"never\": rules are asked \
             with mode = \"rules\" alone",
        ),
        (format!("mode = \"always\"\n{rule}redirect = true"), "`storage.redirect.mode` is \"always\""),
        (
            format!("mode = \"rules\"\n{rule}"),
            "configuration.toml:6:1: `storage.redirect.rule.redirect` is missing; allowed",
        ),
        (
            format!("mode = \"rules\"\n{rule}redirect = true\nnetworks = [\"10.0.0.0/33\"]"),
            "`storage.redirect.rule.networks` is \"10.0.0.0/33\"; allowed: a list of IP addresses and networks",
        ),
        (
            format!("mode = \"rules\"\n{rule}redirect = true\nrepositories = [\"[\"]"),
            "`storage.redirect.rule.repositories` cannot be read",
        ),
        (
            format!("mode = \"rules\"\n{rule}redirect = true\nsize_min = \"x\""),
            "`storage.redirect.rule.size_min` is \"x\"; allowed",
        ),
    ];
    for (lines, expected) in rows {
        problem(&with_table("storage.redirect", &lines), expected);
    }
    problem(
        "[storage.redirect]\nmode = \"always\"",
        "configuration.toml:1:1: `storage.redirect` is for object storage, and `registry_storage` and `proxy_storage` are folders",
    );
    accepted("[storage.redirect]\nmode = \"never\"");
}

#[test]
fn keys_that_go_to_a_bucket_in_clear_are_warned_about() {
    let keys = "access_key_id = \"GK1\"\nsecret_access_key_env = \"TOKEN\"";
    for (endpoint, account, is_warned) in [
        ("http://s3.corp:9000", keys, true),
        ("http://127.0.0.1:9000", keys, false),
        ("http://localhost:9000", keys, false),
        ("https://s3.corp", keys, false),
        ("http://s3.corp", "", false),
    ] {
        let text = with_table("storage.s3", &format!("endpoint = {endpoint:?}\n{account}"));
        let warnings: Vec<_> = accepted(&text).warnings().into_iter().map(|warning| warning.key).collect();
        assert_eq!(warnings, vec!["storage.s3.endpoint"; usize::from(is_warned)], "{text}");
    }
}
