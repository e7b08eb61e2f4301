//! The server as a browser or an attacker sees it: requests over a socket, answered from phantoms.

use crate::place::{self, Answer, Place};

#[test]
fn pages_and_lists_are_there() {
    let place = Place::new();
    let page = place.get("");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    for name in ["", "case.html", "runs.html", "study.html"] {
        let text = String::from_utf8(place.get(name).body).unwrap();
        assert!(text.starts_with("<!doctype html>") && text.ends_with("</html>\n"), "{name}");
        assert!(text.contains("<title>") && text.contains("<nav") && text.contains("</main>"), "{name}");
        assert!(!text.contains("<!--"), "{name}: a place of the frame is open");
    }
    let cases = place.json("api/cases");
    assert_eq!(cases["cases"].as_array().unwrap().len(), place::CASES);
    let row = &cases["cases"][0];
    assert_eq!(row["has_label"], true);
    assert_eq!(row["stages"], serde_json::json!(["original", "prepared", "prediction"]));
    assert!(row["dice"].as_object().unwrap().values().all(|dice| dice == 0.25));
    let left_out = &cases["cases"].as_array().unwrap().last().unwrap()["quarantined"];
    assert_eq!(left_out, &serde_json::json!(["its label is empty"]));
    assert_eq!(place.json("api/overview")["cases"], place::CASES);
    for missing in
        ["api/cases/999", "api/runs/999", "file/999.nii", "file/x", "none.html", "frame.html", "pages.rs"]
    {
        assert_eq!(place.get(missing).status, 404, "{missing}");
    }
}

#[test]
fn every_answer_forbids_pages_to_load_from_elsewhere() {
    let place = Place::new();
    for answer in [place.get(""), place.get("none"), place.get("api/cases"), place.raw("GET", "/", &[])] {
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe-inline") && !policy.contains("http:") && !policy.contains('*'));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
    }
    assert_eq!(place.get("api/cases").header("cache-control"), "no-store");
}

#[test]
fn strangers_are_refused() {
    let place = Place::new();
    let port = place.port;
    let below = |name: &str| format!("/{}/{name}", place.token);
    assert_eq!(place.raw("GET", "/", &[]).status, 404);
    let wrong = format!("/{}/api/cases", "0".repeat(place.token.len()));
    assert_eq!(place.raw("GET", &wrong, &[]).status, 404);
    assert_eq!(place.raw("GET", "/api/cases", &[]).status, 404);
    // A name that was made to lead to 127.0.0.1, and an address of another network.
    for host in ["evil.example", &format!("evil.example:{port}"), "192.168.0.1", ""] {
        assert_eq!(place.with_host("GET", &below("api/cases"), host, &[]).status, 421, "{host}");
    }
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "localhost:9".to_owned()] {
        assert_eq!(place.with_host("GET", &below("api/cases"), &host, &[]).status, 200, "{host}");
    }
    for origin in ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1"] {
        assert_eq!(place.raw("GET", &below("api/cases"), &[("Origin", origin)]).status, 403, "{origin}");
    }
    let own = format!("http://127.0.0.1:{port}");
    assert_eq!(place.raw("GET", &below("api/cases"), &[("Origin", &own)]).status, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        assert_eq!(place.raw(method, &below("api/cases"), &[]).status, 405, "{method}");
    }
    let head = place.raw("HEAD", &below("api/cases"), &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn no_address_leads_out_of_what_was_opened() {
    let place = Place::new();
    for path in [
        "../../../../etc/passwd",
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/Cargo.toml",
        "js/../../Cargo.toml",
        "js/..%5c..%5cCargo.toml",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "file/..%2f..%2fetc%2fpasswd",
        "file//etc/passwd",
        "file/0/../../../../etc/passwd",
        "api/cases/..%2f..%2fsecret.nii",
        "%00",
        "index.html%00.js",
    ] {
        let answer = place.get(path);
        assert!([400, 404].contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.text().contains("root:") && !answer.text().contains("[package]"), "{path}");
    }
}

#[cfg(unix)]
#[test]
fn links_out_of_a_folder_are_not_followed() {
    let place = Place::new();
    let case = place.case(0);
    let predictions: Vec<&serde_json::Value> =
        case["groups"].as_array().unwrap().iter().filter(|group| group["stage"] == "prediction").collect();
    // Of the predictions, `secret` is a link to a file outside, and `above` a path out of the folder.
    let shown: Vec<&str> =
        predictions[0]["volumes"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(shown, ["prediction", "difference from the label"]);
    // A file that is replaced by a link after it was found.
    let address = predictions[0]["volumes"][0]["address"].as_str().unwrap();
    assert_eq!(place.get(address).status, 200);
    let file = place.path(&format!("predicted/{}.nii.gz", place::id(&case)));
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(place.path("secret.nii.gz"), &file).unwrap();
    assert_eq!(place.get(address).status, 404);
}

#[test]
fn files_are_sent_in_parts_and_not_twice() {
    let place = Place::new();
    let case = place.case(0);
    for stage in ["original", "prepared"] {
        let address = place::volume(&case, stage, "image");
        let whole = place.get(&address);
        assert_eq!((whole.status, whole.header("accept-ranges").as_str()), (200, "bytes"));
        assert_eq!(whole.header("content-length"), whole.body.len().to_string());
        let tag = whole.header("etag");
        let part = place.get_with(&address, &[("Range", "bytes=10-19")]);
        assert_eq!((part.status, &part.body[..]), (206, &whole.body[10..20]));
        assert_eq!(part.header("content-range"), format!("bytes 10-19/{}", whole.body.len()));
        let end = place.get_with(&address, &[("Range", "bytes=-5")]);
        assert_eq!(end.body, whole.body[whole.body.len() - 5..]);
        let beyond = place.get_with(&address, &[("Range", "bytes=99999999-")]);
        assert_eq!(beyond.status, 416);
        assert_eq!(beyond.header("content-range"), format!("bytes */{}", whole.body.len()));
        let changed = [("Range", "bytes=10-19"), ("If-Range", "\"another\"")];
        assert_eq!(place.get_with(&address, &changed).status, 200);
        let known = place.get_with(&address, &[("If-None-Match", &tag)]);
        assert_eq!((known.status, known.body.len()), (304, 0));
        assert_eq!(place.get_with(&address, &[("If-None-Match", "\"another\"")]).status, 200);
        let head = place.raw("HEAD", &format!("/{}/{address}", place.token), &[]);
        assert_eq!((head.header("content-length"), head.body.len()), (whole.header("content-length"), 0));
    }
    // Another content has another tag.
    let address = place::volume(&case, "original", "image");
    let before = place.get(&address).header("etag");
    let original = place.original(0);
    let mut bytes = std::fs::read(&original).unwrap();
    bytes.extend([0; 3]);
    std::fs::write(&original, bytes).unwrap();
    assert_ne!(place.get(&address).header("etag"), before);
    let page = place.get("").header("etag");
    assert_eq!(place.get_with("", &[("If-None-Match", &page)]).status, 304);
}

#[test]
fn prepared_images_are_nifti_with_their_own_grid() {
    let place = Place::new();
    let case = place.case(0);
    let read = |answer: Answer| {
        let path = place.path("read.nii");
        std::fs::write(&path, answer.body).unwrap();
        brainmvp_volume::nifti::read(&path).unwrap()
    };
    let image = read(place.get(&place::volume(&case, "prepared", "image")));
    let prepared = place.prepared(place::id(&case));
    let grid = brainmvp_volume::Grid::from(prepared.grid());
    assert!(image.grid().same_place(&grid, 1e-3), "{:?} {grid:?}", image.grid());
    let mut voxels = vec![0.0; grid.len()];
    let modality = prepared.modalities().next().unwrap();
    prepared.read_patch(modality, [0; 3], grid.shape, &mut voxels).unwrap();
    assert_eq!(image.voxels(), voxels);
    let label = read(place.get(&place::volume(&case, "prepared", "label")));
    assert!(label.voxels().iter().any(|value| *value > 0.0));
    // The prediction says 1 in the first half of what is labelled, so the other half is missed.
    let difference = read(place.get(&place::volume(&case, "prediction", "difference")));
    for value in [0.0, 1.0] {
        assert!(difference.voxels().contains(&value), "{value}");
    }
}

#[test]
fn a_run_that_goes_on_is_followed() {
    let place = Place::new();
    let runs = place.json("api/runs");
    assert_eq!((&runs[0]["state"], &runs[0]["step"]), (&"running".into(), &2.into()));
    let detail = place.json("api/runs/0");
    assert_eq!(detail["config"]["train.steps"], "3");
    let first = place.json("api/runs/0/metrics?from=0");
    assert_eq!(first["columns"]["loss"], serde_json::json!([3.0, 2.0]));
    place.append("run/metrics.jsonl", "{\"step\":3,\"loss\":1.0}\n");
    let more = place.json(&format!("api/runs/0/metrics?from={}", first["next"]));
    assert_eq!(more["columns"]["loss"], serde_json::json!([1.0]));
    assert_eq!(place.json("api/runs")[0]["state"], "done");
}

/// A case as large as those of BraTS: on loopback it is there long before the browser has drawn it.
#[test]
fn a_large_case_is_delivered_quickly() {
    let Some(folder) = brainmvp_golden::test_data("brats-gli-00001") else { return };
    let place = Place::of(&[folder]);
    let case = place.case(0);
    let volumes = case["groups"][0]["volumes"].as_array().unwrap();
    let images: Vec<&str> = volumes
        .iter()
        .filter(|volume| volume["role"] == "image")
        .map(|volume| volume["address"].as_str().unwrap())
        .collect();
    assert_eq!(images.len(), 4);
    let start = std::time::Instant::now();
    let bytes: usize = images.iter().map(|address| place.get(address).body.len()).sum();
    let seconds = start.elapsed().as_secs_f64();
    println!("4 volumes, {bytes} bytes, in {seconds:.3} s");
    assert!(seconds < 2.0, "{seconds} s");
}
