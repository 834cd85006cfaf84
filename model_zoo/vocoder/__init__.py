"""From raw log10 mels to audio: HiFi-GAN where its weights are at hand, Griffin-Lim where none are."""
