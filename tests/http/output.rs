//! What steps write: any bytes, in part while they are written, and without the values of secrets.

use std::fs;

use data_encoding::BASE64;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::live::{Gate, Stream};
use crate::support::{Answer, Service, own_service, service, shell};

const JSON: &str = "application/json";

impl Service {
    async fn part(&self, url: &str, range: &str) -> Answer {
        self.get_with(url, "range", range).await
    }

    /// The whole output, and that every way to ask for a part gives the same bytes.
    async fn check_parts(&self, url: &str) -> Vec<u8> {
        let whole = self.get(url).await.expect(200);
        assert_eq!(whole.header("accept-ranges"), "bytes");
        let (bytes, length) = (whole.bytes, self.length(url).await);
        assert_eq!(length, bytes.len());
        let cuts = [0, 1, length / 3, length / 2, length - 2, length - 1];
        for first in cuts {
            for last in cuts.into_iter().filter(|last| *last >= first) {
                let part = self.part(url, &format!("bytes={first}-{last}")).await.expect(206);
                assert_eq!(part.bytes, bytes[first..=last], "{first}-{last}");
                let range = format!("bytes {first}-{last}/{length}");
                assert_eq!(part.header("content-range"), range);
            }
            let rest = self.part(url, &format!("bytes={first}-")).await.expect(206);
            assert_eq!(rest.bytes, bytes[first..]);
            let end = self.part(url, &format!("bytes=-{}", first + 1)).await.expect(206);
            assert_eq!(end.bytes, bytes[length - first - 1..]);
        }
        bytes
    }

    /// The length that `HEAD` tells.
    async fn length(&self, url: &str) -> usize {
        let head = self.send("HEAD", url, &[], None).await.expect(200);
        assert!(head.bytes.is_empty());
        head.header("content-length").parse().expect("a length")
    }
}

/// The bytes of pieces as they are in JSON.
fn bytes_of<'a>(pieces: impl Iterator<Item = &'a Value>) -> Vec<u8> {
    let piece = |piece: &Value| match (piece["text"].as_str(), piece["base64"].as_str()) {
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(base64)) => BASE64.decode(base64.as_bytes()).expect("base64"),
        other => panic!("{other:?}"),
    };
    pieces.flat_map(piece).collect()
}

#[tokio::test]
async fn parts_of_an_output_are_the_same_bytes() {
    let mut database = None;
    let service = own_service(|settings| database.clone_from(&settings.database_url)).await;
    let text = "for n in $(seq 300); do echo out $n; echo error $n >&2; done; exit 3";
    let url = service.submit(&shell(text)).await.url;
    service.ended(&url).await;
    let output = format!("{url}/steps/only/output");
    let streams = ["", "?stream=stdout", "?stream=stderr"].map(|query| format!("{output}{query}"));
    let mut before = Vec::new();
    for url in &streams {
        before.push(service.check_parts(url).await);
    }
    let lengths = before.iter().map(Vec::len).collect::<Vec<_>>();
    let remark = "[ExitStatus: exit code 3]\n".len();
    assert_eq!(lengths[0] + remark, lengths[1] + lengths[2], "a remark is in both streams");

    let past = service.part(&output, &format!("bytes={}-", lengths[0])).await;
    assert_eq!(past.error(416)["target"], "Range");
    assert_eq!(past.header("content-range"), format!("bytes */{}", lengths[0]));
    service.part(&output, "bytes=-0").await.error(416);
    // A server may ignore what it does not do (RFC 9110, 14.2).
    for range in ["bytes=0-1,3-4", "bytes=2-1", "lines=1-2", "bytes"] {
        assert_eq!(service.part(&output, range).await.expect(200).bytes, before[0], "{range}");
    }
    let headers = [("range", "bytes=0-1"), ("if-range", "\"some\"")];
    assert_eq!(service.send("GET", &output, &headers, None).await.expect(200).bytes, before[0]);

    // Pieces that were stored before offsets were.
    let url = database.expect("a database");
    let mut connection = PgConnection::connect(&url).await.expect("a connection");
    let forget = "update output set start = null, start_stdout = null, start_stderr = null";
    sqlx::query(forget).execute(&mut connection).await.expect("an update");
    for (url, before) in streams.iter().zip(before) {
        assert_eq!(service.check_parts(url).await, before);
    }
    drop(connection);
    service.end().await;
}

#[tokio::test]
async fn an_output_is_read_in_part_while_it_is_written() {
    let (service, gate) = (service().await, Gate::new());
    let text = format!("printf 0123456789; {}; printf abcde", gate.wait());
    let submitted = service.submit(&shell(&text)).await;
    let output = format!("{}/steps/only/output", submitted.url);
    let live = format!("/v1.0/operations/{}/steps/only/output?follow=true", submitted.id());
    let mut live = service.open(&live, &[]).await;
    assert_eq!(live.chunk().await.expect("no fault").as_deref(), Some(&b"0123456789"[..]));
    let part = service.part(&output, "bytes=4-99").await.expect(206);
    assert_eq!((part.text(), part.header("content-range")), ("456789", "bytes 4-9/*"));
    let yet = service.part(&output, "bytes=10-").await;
    assert_eq!(yet.header("content-range"), "bytes */10");
    let message = yet.error(416)["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("so far"), "{message}");
    assert_eq!(service.length(&output).await, 10);
    gate.open();
    service.ended(&submitted.url).await;
    let part = service.part(&output, "bytes=10-").await.expect(206);
    assert_eq!((part.text(), part.header("content-range")), ("abcde", "bytes 10-14/15"));
}

#[tokio::test]
async fn a_step_that_wrote_nothing_has_no_part() {
    let service = service().await;
    let url = service.submit(&shell("true")).await.url;
    service.ended(&url).await;
    let output = format!("{url}/steps/only/output");
    assert_eq!(service.length(&output).await, 0);
    for range in ["bytes=0-", "bytes=-5", "bytes=0-0"] {
        assert_eq!(service.part(&output, range).await.header("content-range"), "bytes */0");
    }
}

#[tokio::test]
async fn any_bytes_come_back_as_they_were_written() {
    let service = service().await;
    let mut expected = vec![b'x'; 1_000_000];
    expected.extend_from_slice(b"\n\0\xff\xfe\xc3 \xe2\x82 end\r\n\0\0");
    let text = "head -c 1000000 /dev/zero | tr '\\0' x
        printf '\\n\\000\\377\\376\\303 \\342\\202 end\\r\\n\\000\\000'";
    let submitted = service.submit(&shell(text)).await;
    service.ended(&submitted.url).await;
    let output = format!("{}/steps/only/output", submitted.url);
    assert!(service.check_parts(&output).await == expected);
    let whole = service.get(&output).await;
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    let part = service.part(&output, "bytes=0-9").await;
    assert_eq!(part.header("content-type"), "text/plain; charset=utf-8");
    let page = service.get_with(&output, "accept", JSON).await.expect(200).json();
    assert!(bytes_of(page["value"].as_array().expect("pieces").iter()) == expected);
    let live = format!("/v1.0/operations/{}/steps/only/output", submitted.id());
    let events = Stream::open(&service, &live).await.rest().await;
    let pieces = events.iter().filter(|event| event.name == "output").map(|event| &event.data);
    assert!(bytes_of(pieces) == expected);
    let plain = service.open(&format!("{live}?follow=true"), &[]).await;
    assert!(plain.bytes().await.expect("no fault") == expected);
}

#[tokio::test]
async fn what_steps_write_one_after_the_other_is_their_own() {
    let service = own_service(|settings| settings.slots = 1).await;
    let sizes = [10, 0, 300_000, 1, 5_000_000, 70_000, 0, 3];
    let text = |n: usize, size: usize| {
        format!("head -c {size} /dev/zero | tr '\\0' {n}; head -c {n} /dev/zero | tr '\\0' e >&2")
    };
    let steps: Vec<_> = (0..sizes.len())
        .map(|n| json!({"name": format!("s{n}"), "run": {"shell": text(n, sizes[n])}}))
        .collect();
    let submitted = service.submit(&json!({"steps": steps})).await;
    service.ended(&submitted.url).await;
    for (n, size) in sizes.into_iter().enumerate() {
        let output = format!("{}/steps/s{n}/output", submitted.url);
        let out = service.get(&format!("{output}?stream=stdout")).await.expect(200).bytes;
        assert!(out == n.to_string().repeat(size).as_bytes(), "s{n}: {} of {size}", out.len());
        let err = service.get(&format!("{output}?stream=stderr")).await.expect(200).bytes;
        assert_eq!(err, "e".repeat(n).as_bytes(), "s{n}");
    }
}

const TOKEN: &str = "tok/en \"13\"";
const LINES: &str = "-----BEGIN KEY-----\nfirst of the key\nlast of the key\n";

/// A service that knows secrets.
async fn with_secrets(database: &mut Option<String>) -> crate::support::OwnService {
    let folder = tempfile::tempdir().expect("a folder").keep();
    for (name, value) in [("TOKEN", TOKEN), ("KEY", LINES), ("SHORT", "abc\n")] {
        fs::write(folder.join(name), value).expect("a file");
    }
    own_service(|settings| {
        settings.secrets_dir = Some(folder);
        database.clone_from(&settings.database_url);
    })
    .await
}

/// Everything that the database holds, as text.
async fn dump(database: &str) -> String {
    let mut connection = PgConnection::connect(database).await.expect("a connection");
    let all = "select coalesce(string_agg(x, ''), '') from (
        select convert_from(string_agg(data, ''::bytea order by step, seq), 'UTF8') x from output
        union all select string_agg(attempt::text, '') from attempt
        union all select string_agg(message::text, '') from message
        union all select string_agg(prompt::text, '') from prompt
        union all select string_agg(operation::text, '') from operation) everything";
    sqlx::query_scalar(all).fetch_one(&mut connection).await.expect("texts")
}

#[tokio::test]
async fn the_values_of_secrets_are_shown_nowhere() {
    let mut database = None;
    let service = with_secrets(&mut database).await;
    let says = r#"[ "$TOKEN" = 'tok/en "13"' ] || exit 9
        printf 'plain %s\n' "$TOKEN"; printf 'error %s\n' "$TOKEN" >&2
        printf 'tok/'; sleep 0.1; printf 'en "13" in two parts\n'
        printf '%s' "$TOKEN" | base64; echo 'tok%2Fen%20%2213%22'
        echo "$KEY"; grep -c last "$SUT_CONTEXT"; echo
        grep -zc '^TOKEN=' /proc/$PPID/environ; grep -c 'tok/en' /proc/$PPID/cmdline
        echo 'no JSON tok/en "13"' > "$SUT_EVENTS"
        echo '{"message": {"a tok/en \"13\"": ["tok/en \"13\""]}}' > "$SUT_EVENTS"
        echo '{"tok/en \"13\"": "is tok/en \"13\"", "length": 11}' > "$SUT_OUTPUT"
        printf 'tok/e'; exit 1"#;
    let job = json!({"steps": [
        {"name": "says", "run": {"shell": says}, "secrets": ["TOKEN", "KEY"]},
        {"name": "other", "run": {"shell": "echo \"<${TOKEN-unset}>\"; echo 'tok/en \"13\"'"},
            "when": [{"says": ["Failed"]}]},
    ]});
    let url = service.submit(&job).await.url;
    service.ended(&url).await;
    let out = service.get(&format!("{url}/steps/says/output?stream=stdout")).await.expect(200);
    let out = out.text().to_owned();
    for line in ["plain ***\n", "\n*** in two parts\n", "\n***\n0\n\n0\n0\n", "\ntok/e"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let error = service.get(&format!("{url}/steps/says/output?stream=stderr")).await.expect(200);
    assert!(error.text().contains("error ***\n"), "{}", error.text());
    assert!(error.text().contains("no JSON ***"), "{}", error.text());
    let step = service.get(&format!("{url}/steps/says")).await.expect(200).json();
    assert_eq!(step["attempts"][0]["result"], json!({"***": "is ***", "length": 11}), "{step}");
    let other = service.get(&format!("{url}/steps/other/output")).await.expect(200);
    assert_eq!(other.text(), "<unset>\n***\n");
    let stored = dump(&database.expect("a database")).await;
    assert!(stored.contains("in two parts") && stored.contains("***"), "{stored}");
    for shown in ["tok/en", "en \\\"13", "tok%2F", "of the key", "BEGIN"] {
        // What the client itself has submitted is not the worker's secret.
        assert!(!stored.contains(shown), "{shown}: {stored}");
    }
    service.end().await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_had_fails_the_attempt() {
    let mut database = None;
    let service = with_secrets(&mut database).await;
    let cases = [
        ("NOT_THERE", "SecretMissing", ["NOT_THERE", "no file /"]),
        ("SHORT", "SecretTooShort", ["SHORT", "4 bytes"]),
    ];
    for (name, kind, words) in cases {
        let job = json!({"steps": [{"name": "only", "run": {"shell": "true"}, "secrets": [name]}]});
        let url = service.submit(&job).await.url;
        assert_eq!(service.ended(&url).await["status"], "failed");
        let step = service.get(&format!("{url}/steps/only")).await.expect(200).json();
        assert_eq!(step["exception"]["type"], kind, "{step}");
        let message = step["exception"]["message"].as_str().expect("a message");
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    let job = json!({"steps": [{"name": "only", "run": {"shell": "true"}, "secrets": ["1 X"]}]});
    let error = service.post(job.to_string(), &[]).await.error(400);
    assert_eq!(error["target"], "steps[0].secrets[0]");
    service.end().await;
}
