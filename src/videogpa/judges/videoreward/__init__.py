"""VideoReward (VideoAlign): Qwen2-VL-2B with a head that says what people would prefer. Its judge is in `judge`.

- `inputs`: from a clip and its text to what the network reads
- `checkpoint`: the published file, its names in three versions of transformers, and its LoRA
- `network`: the network and its head

`detailed_special.txt` is the text that the published weights were trained to read, of https://github.com/KwaiVGI/VideoAlign
(MIT licence, LICENSE-VideoAlign.txt); another text gives other numbers.
"""
