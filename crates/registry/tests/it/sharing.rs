//! Blobs that one store has already and the other one wants, where the two cannot share their bytes but by a copy.

use std::sync::atomic::Ordering;

use entrepot_registry::Source;
use futures_util::StreamExt;

use crate::faulty::Port;

async fn push(port: &Port, blob: &entrepot_testkit::Blob) {
    let bytes: Source = futures_util::stream::iter([Ok(blob.bytes.clone())]).boxed();
    port.hosted().push_blob(&blob.digest, None, bytes).await.unwrap();
}

#[tokio::test]
async fn a_pushed_layer_is_copied_into_the_cache_unless_it_turns_out_to_be_damaged() {
    for is_damaged in [false, true] {
        let (port, image) = Port::with_image(&[50_000]).await;
        let layer = &image.layers[0];
        push(&port, layer).await;
        port.own.faults.is_corrupt.store(is_damaged, Ordering::SeqCst);
        assert_eq!(port.pull(&layer.digest).await, (layer.bytes.as_ref().into(), true), "damaged: {is_damaged}");
        assert_eq!(port.blob_gets(), usize::from(is_damaged), "damaged: {is_damaged}");
    }
}

#[tokio::test]
async fn a_cached_layer_is_copied_into_an_own_repository_unless_it_goes_or_is_damaged_meanwhile() {
    let (port, image) = Port::with_image(&[50_000]).await;
    let layer = &image.layers[0];
    assert!(port.pull(&layer.digest).await.1);
    port.registry.fills_ended().await;
    let faults = &port.cache.faults;
    let from = port.cached().name().clone();
    for from in [Some(&from), None] {
        for fault in [&faults.has_lost_all, &faults.is_corrupt] {
            fault.store(true, Ordering::SeqCst);
            // The client is told to upload.
            assert!(!port.hosted().mount(&layer.digest, from, &|_| true).await.unwrap(), "{from:?}");
            port.hosted().blob_size(&layer.digest).await.unwrap_err();
            faults.heal();
        }
    }
    assert!(port.hosted().mount(&layer.digest, Some(&from), &|_| true).await.unwrap());
    assert_eq!(port.hosted().blob_size(&layer.digest).await.unwrap().0, 50_000);
}
