"""Threads that paint with one pipeline at the same time."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from diffusers import StableDiffusionPipeline

from resources.runtime.exact_passes import TOGETHER, Exact
from resources.text_to_image.thread_pipelines import ThreadPipelines, exact_of_pipeline


def test_each_thread_has_its_own_notes_and_all_have_the_same_networks(diffusion_folder):
    pipeline = StableDiffusionPipeline.from_pretrained(diffusion_folder, safety_checker=None)
    copies, both = ThreadPipelines(pipeline), Barrier(2)

    def own(_):
        both.wait(30)
        return copies.here(), copies.here()

    with ThreadPoolExecutor(2) as pool:
        (first, again), (second, _) = pool.map(own, range(2))
    assert first is again
    assert first is not second
    assert first.unet is second.unet is pipeline.unet
    assert first.scheduler is not second.scheduler
    first.scheduler.set_timesteps(3)
    first._guidance_scale = 9.0
    assert second.scheduler.num_inference_steps is pipeline.scheduler.num_inference_steps is None
    assert not hasattr(second, "_guidance_scale")
    assert pipeline.scheduler is not first.scheduler


def test_each_thread_fills_texts_up_as_it_was_told(diffusion_folder):
    """Pipelines tokenize each prompt twice, once filled up to the context and once not."""
    pipeline = StableDiffusionPipeline.from_pretrained(diffusion_folder, safety_checker=None)
    copies, both = ThreadPipelines(pipeline), Barrier(2)
    context = pipeline.tokenizer.model_max_length
    assert context > 5

    def lengths(padding):
        tokenizer = copies.here().tokenizer
        both.wait(30)
        return {
            len(row)
            for _ in range(400)
            for row in tokenizer(["a", "a a"], padding=padding, max_length=context).input_ids
        }

    with ThreadPoolExecutor(2) as pool:
        filled, longest = pool.map(lengths, ("max_length", "longest"))
    assert filled == {context}
    assert len(longest) == 1
    assert max(longest) < context


def test_small_pipelines_paint_together_what_does_not_depend_on_its_neighbours(diffusion_folder):
    pipeline = StableDiffusionPipeline.from_pretrained(diffusion_folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    assert exact_of_pipeline(pipeline, 5.0) == Exact(TOGETHER, at_once=True)
    forward = pipeline.unet.forward

    def mixing(sample, *args, **kwargs):
        output = forward(sample, *args, **kwargs)
        return (output[0] + sample.mean(), *output[1:])  # each picture sees all

    pipeline.unet.forward = mixing
    assert exact_of_pipeline(pipeline, 5.0) == Exact(1, at_once=True)
