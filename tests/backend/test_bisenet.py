"""The face parser: BiSeNet with the public names, its ten classes, files of weights, and the weights of pixels."""

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from backend import face_parsing
from backend.errors import UsageError
from backend.face_parsing import (
    CELEBAMASK_CLASSES,
    DF_MVR_CLASSES,
    PARSING_CLASSES,
    FaceParser,
    PictureForm,
    read_face_parser,
    weight_map,
)
from backend.networks.bisenet import BiSeNet
from backend.weights import save_weights
from training.data import sample

PUBLIC_PARAMETERS = 13_300_416
"""Of the public network of 19 classes."""


def normalisation(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    vectors = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{name}.num_batches_tracked": ()}


def convolution(name: str, outputs: int, inputs: int, side: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.conv.weight": (outputs, inputs, side, side), **normalisation(f"{name}.bn", outputs)}


def public_bisenet(classes: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a file of zllrunning/face-parsing.PyTorch."""
    shapes = {"cp.resnet.conv1.weight": (64, 3, 7, 7), **normalisation("cp.resnet.bn1", 64)}
    for stage, (inputs, channels) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), start=1):
        for block in range(2):
            name = f"cp.resnet.layer{stage}.{block}"
            entering = inputs if block == 0 else channels
            shapes[f"{name}.conv1.weight"] = (channels, entering, 3, 3)
            shapes[f"{name}.conv2.weight"] = (channels, channels, 3, 3)
            shapes |= normalisation(f"{name}.bn1", channels) | normalisation(f"{name}.bn2", channels)
            if entering != channels:
                shapes[f"{name}.downsample.0.weight"] = (channels, entering, 1, 1)
                shapes |= normalisation(f"{name}.downsample.1", channels)
    for name, inputs in (("cp.arm16", 256), ("cp.arm32", 512)):
        shapes |= convolution(f"{name}.conv", 128, inputs, 3) | normalisation(f"{name}.bn_atten", 128)
        shapes[f"{name}.conv_atten.weight"] = (128, 128, 1, 1)
    shapes |= convolution("cp.conv_head32", 128, 128, 3) | convolution("cp.conv_head16", 128, 128, 3)
    shapes |= convolution("cp.conv_avg", 128, 512, 1) | convolution("ffm.convblk", 256, 256, 1)
    shapes |= {"ffm.conv1.weight": (64, 256, 1, 1), "ffm.conv2.weight": (256, 64, 1, 1)}
    for name, inputs, between in (("conv_out", 256, 256), ("conv_out16", 128, 64), ("conv_out32", 128, 64)):
        shapes |= convolution(f"{name}.conv", between, inputs, 3)
        shapes[f"{name}.conv_out.weight"] = (classes, between, 1, 1)
    return shapes


def tiny(classes: int = 10) -> BiSeNet:
    torch.manual_seed(0)
    return BiSeNet(classes, width=4).eval()


def pictures(count: int = 2, height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


class Given(nn.Module):
    """A network that answers with its picture's channels, spread over the classes."""

    def __init__(self, logits: torch.Tensor):
        super().__init__()
        self.logits, self.classes = logits, logits.shape[1]

    def forward(self, image):
        return self.logits + 0 * image[:, :1]


# The network.


@pytest.mark.parametrize("classes", [19, 10])
def test_it_has_the_names_and_shapes_of_the_public_weights(classes):
    with torch.device("meta"):
        network = BiSeNet(classes)
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == public_bisenet(classes)
    assert network.classes == classes and network.width == 64
    if classes == 19:
        assert sum(value.numel() for value in network.parameters()) == PUBLIC_PARAMETERS


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 71)])
def test_every_head_says_the_classes_of_every_pixel(height, width):
    network = tiny(7)
    with torch.no_grad():
        heads = network.all_heads(pictures(1, height, width))
        assert [tuple(head.shape) for head in heads] == [(1, 7, height, width)] * 3
        assert torch.equal(network(pictures(1, height, width)), heads[0])


def test_only_the_main_head_is_used_for_an_answer():
    network = tiny()
    for head in (network.conv_out16, network.conv_out32):
        nn.init.constant_(head.conv_out.weight, float("nan"))
    with torch.no_grad():
        assert network(pictures()).isfinite().all()
        assert [bool(head.isfinite().all()) for head in network.all_heads(pictures())] == [True, False, False]


def test_attention_refines_by_the_mean_of_the_whole_picture():
    module = tiny().cp.arm16
    features = torch.randn(2, 16, 3, 5)
    with torch.no_grad():
        refined = module.conv(features)
        mean = refined.mean(dim=(2, 3)) @ module.conv_atten.weight[:, :, 0, 0].T
        by_hand = refined * torch.sigmoid(mean / (1 + module.bn_atten.eps) ** 0.5)[..., None, None]
        torch.testing.assert_close(module(features), by_hand)


def test_fusion_adds_as_much_of_each_channel_again_as_the_picture_says():
    module = tiny().ffm
    spatial, context = torch.randn(2, 8, 3, 5), torch.randn(2, 8, 3, 5)
    with torch.no_grad():
        features = module.convblk(torch.cat([spatial, context], 1))
        mean = (features.mean(dim=(2, 3)) @ module.conv1.weight[:, :, 0, 0].T).clamp(min=0)
        attention = torch.sigmoid(mean @ module.conv2.weight[:, :, 0, 0].T)[..., None, None]
        torch.testing.assert_close(module(spatial, context), features * (1 + attention))


def enlarged(features: torch.Tensor, side: int, **how) -> torch.Tensor:
    return nn.functional.interpolate(features, (side, side), **how)


def test_context_goes_up_from_the_whole_picture_to_an_eighth_and_each_head_sees_its_own():
    network, image = tiny(), pictures(1, 70, 70)
    path = network.cp
    with torch.no_grad():
        _, eighth, sixteenth, last = path.resnet.feature_maps(image)
        assert [maps.shape[-1] for maps in (eighth, sixteenth, last)] == [9, 5, 3]
        whole = path.conv_avg(last.mean(dim=(2, 3), keepdim=True))
        at16 = path.conv_head32(enlarged(path.arm32(last) + whole, 5))
        at8 = path.conv_head16(enlarged(path.arm16(sixteenth) + at16, 9))
        seen = (network.conv_out(network.ffm(eighth, at8)), network.conv_out16(at8), network.conv_out32(at16))
        for found, logits in zip(network.all_heads(image), seen, strict=True):
            torch.testing.assert_close(found, enlarged(logits, 70, mode="bilinear", align_corners=True))


def test_all_weights_learn_from_the_three_heads():
    network = tiny().train()
    sum(head.square().mean() for head in network.all_heads(pictures())).backward()
    assert not [name for name, value in network.named_parameters() if value.grad is None]


# The parser.


def test_the_classes_are_those_of_the_synthetic_people():
    assert sample.PARSING_CLASSES is PARSING_CLASSES
    assert PARSING_CLASSES[6:] == ("nose", "mouth", "upper_lip", "lower_lip")


def test_the_19_classes_become_ten_by_the_published_remap():
    """Brows and eyes trade sides: those of the file are the picture's, ours the subject's."""
    published = {0: 0, 1: 1, 2: 3, 3: 2, 4: 5, 5: 4, 10: 6, 11: 7, 12: 8, 13: 9}
    winners = torch.arange(19).view(1, 1, 19)
    logits = torch.rand(1, 19, 1, 19, generator=torch.Generator().manual_seed(0))
    logits.scatter_(1, winners.unsqueeze(1), 2.0)  # each of the 19 wins one pixel
    parser = FaceParser(Given(logits), PictureForm(19), CELEBAMASK_CLASSES)
    parser.seen = lambda image: image
    labels = parser.labels(torch.zeros(1, 3, 1, 19))
    assert labels.dtype == torch.uint8
    assert labels[0, 0].tolist() == [published.get(number, 0) for number in range(19)]


def test_the_network_sees_normalised_pictures_of_its_size():
    parser = FaceParser(tiny(), PictureForm(32, (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)))
    seen = parser.seen(torch.full((1, 3, 70, 50), 0.6))
    assert seen.shape == (1, 3, 32, 32)
    torch.testing.assert_close(seen[0, :, 5, 5], torch.tensor([1.0, 1.6, 1.5]))
    assert parser.labels(pictures(1, 70, 50)).shape == (1, 70, 50)


def test_gradients_reach_the_picture_through_a_frozen_parser():
    parser, image = FaceParser(tiny(), PictureForm(32)).requires_grad_(False), pictures(1, 40, 40).requires_grad_()
    nn.functional.cross_entropy(parser(image), torch.full((1, 40, 40), 3)).backward()
    assert image.grad.abs().sum() > 0


def test_a_parser_needs_a_name_for_every_output():
    with pytest.raises(ValueError, match="names of 7 classes"):
        FaceParser(tiny(7))


# Files.


@pytest.mark.parametrize(("classes", "names", "size"), [(19, CELEBAMASK_CLASSES, 512), (10, DF_MVR_CLASSES, 224)])
def test_state_dicts_with_public_names_are_read_as_torch_and_as_safetensors_files(tmp_path, classes, names, size):
    network = tiny(classes)
    torch.save(network.state_dict(), tmp_path / "79999_iter.pth")
    save_file(network.state_dict(), tmp_path / "79999_iter.safetensors")
    for name in ("79999_iter.pth", "79999_iter.safetensors"):
        parser = read_face_parser(tmp_path / name)
        assert not parser.training and parser.form.size == size
        assert parser.outputs_of == FaceParser(network, classes=names).outputs_of
        for key, value in parser.network.state_dict().items():
            assert torch.equal(value, network.state_dict()[key])


def test_the_public_weights_see_imagenets_normalisation_and_df_mvrs_do_not(tmp_path):
    means = []
    for classes in (19, 10):
        torch.save(tiny(classes).state_dict(), tmp_path / "weights.pth")
        means.append(read_face_parser(tmp_path / "weights.pth").form.mean)
    assert means == [(0.485, 0.456, 0.406), (0.5, 0.5, 0.5)]


def test_weights_of_ours_are_read_with_their_size(tmp_path):
    network = tiny()
    facts = {"network": {"classes": 10, "width": 4, "size": 96}}
    save_weights(tmp_path / "ours.safetensors", network.state_dict(), face_parsing.METHOD, "open_head", facts)
    parser = read_face_parser(tmp_path / "ours.safetensors")
    assert parser.form == PictureForm(96) and parser.outputs_of == tuple((number,) for number in range(10))
    with torch.no_grad():
        assert torch.allclose(parser.network(pictures()), network(pictures()), atol=1e-2)  # stored in half precision


def write_eleven_classes(path):
    torch.save(tiny(11).state_dict(), path)


def write_without_a_head(path):
    state = tiny(19).state_dict()
    del state["conv_out16.conv_out.weight"]
    torch.save(state, path)


@pytest.mark.parametrize(
    "write",
    [
        write_eleven_classes,
        write_without_a_head,
        lambda path: torch.save({"network": tiny()}, path),  # a pickled class
        lambda path: path.write_text("not a network"),
        lambda path: None,
    ],
    ids=["eleven classes", "incomplete", "class", "text", "missing"],
)
def test_what_is_no_state_dict_of_a_face_parser_is_refused_in_a_sentence(tmp_path, write):
    write(tmp_path / "weights.pth")
    with pytest.raises(UsageError, match="no state dict of a BiSeNet"):
        read_face_parser(tmp_path / "weights.pth")


# The weights of pixels.


def labels_of_a_face(size: int = 60) -> torch.Tensor:
    labels = np.zeros((size, size), np.uint8)
    labels[5:55, 10:50] = PARSING_CLASSES.index("skin")
    labels[20:24, 20:28] = PARSING_CLASSES.index("left_eye")
    labels[30:32, 48:50] = PARSING_CLASSES.index("nose")  # at the border of the face
    labels[54:55, 30:33] = PARSING_CLASSES.index("lower_lip")
    return torch.from_numpy(labels)


@pytest.mark.parametrize("dilation", [10, 7, 1])
def test_the_weight_map_is_the_dilation_of_the_features_inside_the_face(dilation):
    labels = labels_of_a_face().numpy()
    dilated = cv2.dilate((labels > 1).astype(np.uint8), np.ones((dilation, dilation), np.uint8))
    wanted = np.where(labels == 0, 32, np.where(dilated > 0, 254, 128))
    found = weight_map(torch.from_numpy(labels)[None], dilation)
    assert found.dtype == torch.uint8 and np.array_equal(found[0].numpy(), wanted)


def test_features_grow_by_10_pixels_in_224():
    for size, dilation in ((224, 10), (112, 5)):
        assert torch.equal(weight_map(labels_of_a_face(size)), weight_map(labels_of_a_face(size), dilation))


def test_the_left_view_has_the_weights_of_the_others():
    left, front, right = weight_map(labels_of_a_face().expand(1, 3, 60, 60))[0]
    assert torch.equal(left, front) and torch.equal(left, right) and left.max() == 254
