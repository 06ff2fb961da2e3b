use super::*;
use crate::backup::Location;

fn spec(uri: &str, options: &[(&str, &str)]) -> LocationSpec {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    LocationSpec { name: "nas".into(), uri: uri.into(), options: options.collect() }
}

fn options(uri: &str, given: &[(&str, &str)]) -> String {
    match Target::of(&spec(uri, given)).unwrap() {
        Target::Directory(path) => path.display().to_string(),
        Target::Remote { kind, options } => {
            let options: Vec<String> =
                options.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {}", kind.service(), options.join(" "))
        }
    }
}

fn error(uri: &str, given: &[(&str, &str)]) -> String {
    Target::of(&spec(uri, given)).err().unwrap().to_string()
}

#[test]
fn each_kind_is_put_into_opendals_words() {
    let cases = [
        ("/mnt/nas/verso", "/mnt/nas/verso"),
        ("file:///mnt/a%20b", "/mnt/a b"),
        ("s3://b/p/q?region=eu-1", "s3 bucket=b region=eu-1 root=/p/q"),
        ("s3://b?endpoint=http://h:1", "s3 bucket=b endpoint=http://h:1 region=us-east-1 root="),
        ("gcs://b/p", "gcs bucket=b root=/p"),
        (
            "azblob://c/p?account_name=me",
            "azblob account_name=me container=c endpoint=https://me.blob.core.windows.net root=/p",
        ),
        ("sftp://u@h:22/p?key=/k", "sftp endpoint=ssh://h:22 key=/k root=/p user=u"),
        ("ftp://h/p", "ftp endpoint=ftp://h root=/p user=anonymous"),
        ("ftps://u@h/p", "ftp endpoint=ftps://h root=/p user=u"),
        ("webdav://u@h/p", "webdav endpoint=https://h root=/p username=u"),
        ("webdav+http://h:80/p", "webdav endpoint=http://h:80 root=/p"),
    ];
    for (uri, meaning) in cases {
        assert_eq!(options(uri, &[]), meaning, "{uri}");
    }
    assert_eq!(options("vercel-blob://p/q", &[("token", "t")]), "vercel-blob root=p/q token=t");
    assert!(options("s3://b?region=a", &[("region", "b")]).contains("region=b"));
}

#[test]
fn mistakes_come_with_advice() {
    assert!(error("sftp://u:hunter2@h/p", &[]).contains("credentials file"));
    assert!(error("s3://b?secret_access_key=hunter2", &[]).contains("credentials file"));
    assert!(error("gopher://h", &[]).contains("webdav+http://"));
    assert!(error("s3://b?colour=red", &[]).contains("enable_virtual_host_style"));
    assert!(error("/mnt/nas", &[("key", "v")]).contains("there are none"));
    assert!(error("s3:///p", &[]).contains("s3://BUCKET/PREFIX"));
    assert!(error("nas", &[]).contains("neither a configured location nor a URI"));
    assert!(error("file://mnt/nas", &[]).contains("file:///mnt/nas"));
    assert!(error("/mnt/../etc", &[]).contains("absolute path"));
    assert!(error("/", &[]).contains("absolute path"));
    assert!(error("s3://b?endpoint", &[]).contains("NAME=VALUE"));
    assert!(error("s3://b/%zz", &[]).contains("hex digits"));
    assert!(error("s3://me@b", &[]).contains("has no user"));
    assert!(error("azblob://c", &[]).contains("account_name"));
    assert!(error("vercel-blob://p", &[]).contains("token"));
}

#[test]
fn nothing_that_is_shown_holds_a_secret() {
    let secret = spec("sftp://u:hunter2@h/p?x=hunter2", &[("password", "hunter2")]);
    assert!(!format!("{secret:?}").contains("hunter2"), "{secret:?}");
    let location = spec("ftp://u@h/p", &[("password", "hunter2")]);
    assert_eq!(Location::open(&location).unwrap().describe(), "ftp://u@h/p");
    for uri in ["sftp://u:hunter2@h/p", "ftp://:hunter2@h", "s3://b?secret_access_key=hunter2"] {
        assert!(!error(uri, &[]).contains("hunter2"));
    }
}

#[test]
fn secret_options_are_known_as_such() {
    assert!(option_is_secret("s3://b", "secret_access_key").unwrap());
    assert!(!option_is_secret("s3://b", "region").unwrap());
    assert!(option_is_secret("/mnt", "region").is_err());
}
