"""What the page of `mindvit demo` says, in English and Chinese."""

WORDS = {
    "en": {
        "title": "## What is in the image, and where the network looked",
        "drop": "Image: drop one, paste one, or click to choose",
        "predictions": "Predictions",
        "overlay": "Where it looked: gray is little, yellow most",
        "method": "Method",
        "relevance": "relevance: all layers, for this class",
        "rollout": "rollout: attention up to a layer",
        "attention": "attention of one layer and head",
        "grad_cam": "Grad-CAM at a layer",
        "layer": "Layer, 0 is the first",
        "head": "Head",
        "mean": "mean of all",
        "examples": "Examples to click",
        "milliseconds": "opened in {opening:.0f} ms, named in {network:.0f} ms, explained in {attention:.0f} ms",
        "wrong": "{reason}",
        "gone": "the image is no longer here; drop it again",
    },
    "zh": {
        "title": "## 图片里是什么，网络看了哪里",
        "drop": "图片：拖入、粘贴，或点击选择",
        "predictions": "预测结果",
        "overlay": "网络看了哪里：灰色最少，黄色最多",
        "method": "方法",
        "relevance": "relevance：所有层对该类别的贡献",
        "rollout": "rollout：累积到某一层的注意力",
        "attention": "attention：单层单头的注意力",
        "grad_cam": "Grad-CAM：某一层",
        "layer": "层，0 为第一层",
        "head": "注意力头",
        "mean": "所有头的平均",
        "examples": "点击示例",
        "milliseconds": "读取 {opening:.0f} 毫秒，识别 {network:.0f} 毫秒，解释 {attention:.0f} 毫秒",
        "wrong": "无法识别这张图片：{reason}",
        "gone": "图片已被清除，请重新拖入",
    },
}


def in_language(accepted: str | None) -> dict[str, str]:
    """The words in the language that a browser's Accept-Language names first.

    Example:
        >>> in_language("zh-CN,zh;q=0.9,en;q=0.8")["method"], in_language(None)["method"]
        ('方法', 'Method')
    """
    return WORDS["zh" if (accepted or "").lower().startswith("zh") else "en"]
