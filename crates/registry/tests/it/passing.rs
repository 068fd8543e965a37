//! A cache whose disk is full: every client gets its bytes, nothing is kept, and it is filled again once there is room.

use std::sync::atomic::Ordering;
use std::time::Duration;

use entrepot_oci::ByteRange;
use entrepot_registry::{Error, ProxySettings};
use entrepot_testkit::{Blob, Gate, Reply, Seen};
use futures_util::StreamExt;
use futures_util::future::join_all;

use crate::faulty::{Port, THERE, is_whole_blob_get, receive};
use crate::source;

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn clients_of_a_fill_that_finds_the_disk_full_in_mid_blob_get_the_rest_from_the_upstream() {
    let (port, image) = Port::with_image(&[4 * MIB]).await;
    let layer = &image.layers[0];
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(is_whole_blob_get).once().reply(move |honest| honest.stall_after(MIB, &held));
    port.cache.faults.leave_room_for(2 * MIB as u64);
    let clients = join_all((0..5).map(|_| port.pull(&layer.digest)));
    let opening = async {
        gate.reached_by(1).await;
        gate.open();
    };
    let (received, ()) = tokio::join!(clients, opening);
    for (bytes, is_clean) in received {
        assert!(is_clean && bytes == layer.bytes, "{} bytes, clean end: {is_clean}", bytes.len());
    }
    // The fill, and what each of the five still needed.
    assert_eq!(port.blob_gets(), 6);
    assert!(port.upstream.count(|seen| seen.is_blob() && seen.header("range").is_some()) > 0, "asked from its offset");
    assert_eq!(port.metrics.fills_passed_through.get(), 1);
    port.registry.fills_ended().await;
    assert_eq!(port.cache.faults.stages(), 0, "what was staged is given up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_cannot_be_begun_or_published_passes_through() {
    for fault in [0, 1] {
        let (port, image) = Port::with_image(&[MIB]).await;
        let faults = &port.cache.faults;
        [&faults.begins_nothing, &faults.publishes_nothing][fault].store(true, Ordering::SeqCst);
        let layer = &image.layers[0];
        for _ in 0..2 {
            assert_eq!(port.pull(&layer.digest).await, (layer.bytes.as_ref().into(), true), "fault {fault}");
        }
        port.registry.fills_ended().await;
        assert_eq!(faults.stages(), 0, "fault {fault}");
        // Own pushes have a disk of their own.
        let pushed = entrepot_oci::Algorithm::Sha256.digest(b"pushed");
        port.hosted().push_blob(&pushed, None, source("pushed")).await.unwrap();
    }
}

#[tokio::test]
async fn a_lie_that_passes_through_is_never_delivered_whole() {
    type Lie = (&'static str, fn(Reply) -> Reply);
    let lies: &[Lie] = &[
        ("first byte", |honest| honest.flip_byte(0)),
        ("last byte", |honest| honest.flip_byte(MIB - 1)),
        ("short", |honest| honest.short_by(1).without_length()),
    ];
    for (name, lie) in lies {
        let (port, image) = Port::with_image(&[MIB]).await;
        port.cache.faults.begins_nothing.store(true, Ordering::SeqCst);
        port.upstream.when(|seen| seen.is_get() && seen.is_blob()).reply(*lie);
        let (received, is_clean) = port.pull(&image.layers[0].digest).await;
        assert!(!is_clean && received.len() < MIB, "{name}: {} bytes, clean end: {is_clean}", received.len());
    }
}

#[tokio::test]
async fn a_transfer_that_passes_through_is_resumed_and_ranged() {
    let (port, image) = Port::with_image(&[2 * MIB]).await;
    port.cache.faults.begins_nothing.store(true, Ordering::SeqCst);
    let layer = &image.layers[0];
    // The fill's own question is answered whole; the client's breaks off.
    assert!(port.pull(&layer.digest).await.1);
    port.upstream.when(is_whole_blob_get).once().reply(|honest| honest.cut_after(MIB));
    assert_eq!(port.pull(&layer.digest).await, (layer.bytes.as_ref().into(), true));
    port.upstream.forget_requests();
    let blob = port.cached().blob(&layer.digest).await.unwrap();
    let (received, is_clean) = receive(&blob, ByteRange::new(1000, 1999)).await;
    assert!(is_clean && received == layer.bytes[1000..2000]);
    assert_eq!(port.upstream.count(|seen| seen.header("range") == Some("bytes=1000-1999")), 1);
    assert_eq!(port.blob_gets(), 1, "no more than the range is asked for");
}

#[tokio::test]
async fn a_full_disk_is_not_tried_again_at_once_and_then_it_is() {
    let (port, image) = Port::with_image(&[MIB]).await;
    port.cache.faults.begins_nothing.store(true, Ordering::SeqCst);
    let layer = &image.layers[0];
    assert!(port.pull(&layer.digest).await.1);
    port.cache.faults.heal();
    assert!(port.pull(&layer.digest).await.1);
    assert_eq!(port.metrics.fills_started.get(), 1, "the disk counts as full for a while");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    assert_eq!(port.pull(&layer.digest).await, (layer.bytes.as_ref().into(), true));
    port.registry.fills_ended().await;
    let before = port.blob_gets();
    assert!(port.pull(&layer.digest).await.1);
    assert_eq!((port.metrics.fills_started.get(), port.blob_gets()), (2, before), "it is cached now");
}

#[tokio::test]
async fn a_blob_of_unknown_size_passes_through_with_the_size_that_the_upstream_tells() {
    let port = Port::open(ProxySettings::default()).await;
    port.cache.faults.begins_nothing.store(true, Ordering::SeqCst);
    let blob = Blob::random(5, MIB);
    port.upstream.put_blob(THERE, blob.bytes.clone());
    port.upstream.when(|seen| seen.is_get() && seen.is_blob()).reply(Reply::without_length);
    for _ in 0..2 {
        let pulled = port.cached().blob(&blob.digest).await.unwrap();
        assert_eq!(pulled.size, MIB as u64);
        assert_eq!(receive(&pulled, None).await, (blob.bytes.as_ref().into(), true));
    }
    // Where nobody tells it, there is nothing to answer with.
    port.upstream.heal();
    port.upstream.when(Seen::is_blob).reply(|honest| honest.ignoring_range().without_length());
    let refused = port.cached().blob(&blob.digest).await.unwrap_err();
    assert!(matches!(refused.root(), Error::NoRoom { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_blob_whose_size_nobody_tells_is_answered_when_it_is_here_and_not_waited_for_too_long() {
    let port = Port::open(ProxySettings::default()).await;
    let blob = Blob::random(5, MIB);
    port.upstream.put_blob(THERE, blob.bytes.clone());
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(|seen| seen.is_blob() && seen.header("range").is_some()).reply(|_| Reply::new(416));
    port.upstream.when(|seen| seen.is_head() && seen.is_blob()).reply(Reply::without_length);
    port.upstream.when(Seen::is_blob).reply(move |honest| honest.without_length().stall_after(MIB / 2, &held));
    let repository = port.cached();
    let waiting = async {
        gate.reached_by(1).await;
        // With nothing left to do but to wait, the clock goes on to the end of the client's patience, before that of the fill.
        tokio::time::pause();
    };
    let (refused, ()) = tokio::join!(repository.blob(&blob.digest), waiting);
    tokio::time::resume();
    let refused = refused.unwrap_err();
    assert!(matches!(refused, Error::BlobSizeUntold { .. }), "{refused:?}");
    // The fill has gone on meanwhile.
    gate.open();
    port.registry.fills_ended().await;
    assert_eq!(port.pull(&blob.digest).await, (blob.bytes.as_ref().into(), true));
    assert_eq!(port.upstream.count(is_whole_blob_get), 1);
}

#[tokio::test]
async fn only_so_many_fills_go_on_without_a_client_and_the_newest_ends() {
    let mut settings = ProxySettings::default();
    settings.cache.orphan_fills_max = 1;
    let port = Port::open(settings).await;
    let image = port.put_image(&[MIB, 2 * MIB]).await;
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(Seen::is_blob).reply(move |honest| honest.stall_after(1000, &held));
    for (number, layer) in (1..).zip(&image.layers) {
        let blob = port.cached().blob(&layer.digest).await.unwrap();
        let mut stream = blob.stream(None).await.unwrap();
        drop(blob);
        stream.next().await.unwrap().unwrap();
        assert_eq!(port.metrics.fills_orphaned.get(), number - 1, "a stream alone follows the fill");
    }
    assert_eq!(port.metrics.fills_abandoned.get(), 1);
    gate.open();
    port.registry.fills_ended().await;
    assert_eq!((port.metrics.fills_orphaned.get(), port.cache.faults.stages()), (0, 0));
    let before = port.blob_gets();
    assert_eq!(port.pull(&image.layers[0].digest).await, (image.layers[0].bytes.as_ref().into(), true));
    assert_eq!(port.blob_gets(), before, "the first went on");
    assert_eq!(port.pull(&image.layers[1].digest).await, (image.layers[1].bytes.as_ref().into(), true));
    assert_eq!(port.blob_gets(), before + 1, "the second ended, and is begun anew");
}

#[tokio::test]
async fn a_client_that_comes_back_takes_up_an_orphan() {
    let (port, image) = Port::with_image(&[2 * MIB]).await;
    let layer = &image.layers[0];
    let gate = Gate::new();
    let held = gate.clone();
    port.upstream.when(Seen::is_blob).reply(move |honest| honest.stall_after(1000, &held));
    drop(port.cached().blob(&layer.digest).await.unwrap());
    assert_eq!(port.metrics.fills_orphaned.get(), 1);
    let blob = port.cached().blob(&layer.digest).await.unwrap();
    assert_eq!(port.metrics.fills_orphaned.get(), 0);
    gate.open();
    assert_eq!(receive(&blob, None).await, (layer.bytes.as_ref().into(), true));
    assert_eq!(port.blob_gets(), 1);
}
